//! What a client has chosen of CLIENT TRACKING, as its own connection sets it and others read it.

use super::Client;
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};

/// A client's tracking mode: a set of bits, none while tracking is off.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TrackingMode(u8);

/// A client's mode and redirection.
#[derive(Debug, Default)]
pub(super) struct TrackingState {
    mode: AtomicU8,
    /// Its number among those that track keys at its port, from 1; 0 for none.
    number: AtomicU32,
    /// The id of the client that gets the invalidations; 0 for the client itself.
    redirect: AtomicU64,
}

impl TrackingMode {
    /// Tracking is off.
    pub const OFF: Self = Self(0);
    /// Tracking is on.
    pub const ON: Self = Self(1);
    /// The client is notified of every key that has one of its prefixes.
    pub const BCAST: Self = Self(1 << 1);
    /// Only reads that CLIENT CACHING YES announces are remembered.
    pub const OPTIN: Self = Self(1 << 2);
    /// Only reads that CLIENT CACHING NO announces are not remembered.
    pub const OPTOUT: Self = Self(1 << 3);
    /// The client is not notified of its own changes.
    pub const NOLOOP: Self = Self(1 << 4);
    /// CLIENT CACHING was given for the present request.
    pub const CACHING: Self = Self(1 << 5);
    /// The client that gets the invalidations was not there when there was one.
    pub const BROKEN: Self = Self(1 << 6);

    /// Returns whether all of these bits are set.
    #[must_use]
    pub const fn has(self, bits: Self) -> bool {
        self.0 & bits.0 == bits.0
    }

    /// Returns whether one of these bits is set.
    #[must_use]
    pub const fn has_any(self, bits: Self) -> bool {
        self.0 & bits.0 != 0
    }

    /// Returns the mode with these bits as well.
    #[must_use]
    pub const fn with(self, bits: Self) -> Self {
        Self(self.0 | bits.0)
    }

    /// Returns the mode without these bits.
    #[must_use]
    pub const fn without(self, bits: Self) -> Self {
        Self(self.0 & !bits.0)
    }

    /// Returns whether CLIENT CACHING decides which reads are remembered.
    #[must_use]
    pub const fn is_by_choice(self) -> bool {
        self.has_any(Self(Self::OPTIN.0 | Self::OPTOUT.0))
    }

    /// Returns whether the keys that the present request reads are remembered.
    #[must_use]
    pub const fn remembers(self) -> bool {
        let is_asked = self.has(Self::CACHING);
        self.has(Self::ON)
            && !self.has(Self::BCAST)
            && (is_asked || !self.has(Self::OPTIN))
            && !(is_asked && self.has(Self::OPTOUT))
    }

    /// Returns whether the keys of every read are remembered.
    #[must_use]
    pub const fn remembers_all(self) -> bool {
        self.remembers() && !self.is_by_choice()
    }
}

impl Client {
    /// Returns the client's tracking mode.
    #[must_use]
    #[inline]
    pub fn tracking(&self) -> TrackingMode {
        TrackingMode(self.tracking.mode.load(Ordering::Acquire))
    }

    /// Returns the id of the client that gets the invalidations; 0 for the client itself.
    #[must_use]
    pub fn tracking_redirect(&self) -> u64 {
        self.tracking.redirect.load(Ordering::Acquire)
    }

    /// Returns the client's number among those that track keys if the keys that its present request reads
    /// are remembered, else 0.
    #[must_use]
    #[inline]
    pub fn reader_number(&self) -> u32 {
        match self.tracking() {
            TrackingMode::OFF => 0,
            mode => self.number_if(mode.remembers()),
        }
    }

    /// Returns the same for the keys of every request.
    #[must_use]
    #[inline]
    pub fn constant_reader_number(&self) -> u32 {
        match self.tracking() {
            TrackingMode::OFF => 0,
            mode => self.number_if(mode.remembers_all()),
        }
    }

    #[cold]
    fn number_if(&self, remembers: bool) -> u32 {
        if remembers { self.tracking_number() } else { 0 }
    }

    /// Returns the client's number among those that track keys at its port, from 1.
    #[must_use]
    pub fn tracking_number(&self) -> u32 {
        self.tracking.number.load(Ordering::Acquire)
    }

    /// Sets the client's number among those that track keys at its port.
    pub fn set_tracking_number(&self, number: u32) {
        self.tracking.number.store(number, Ordering::Release);
    }

    /// Sets the tracking mode, and the client that gets the invalidations.
    pub fn set_tracking(&self, mode: TrackingMode, redirect: u64) {
        self.tracking.redirect.store(redirect, Ordering::Release);
        self.tracking.mode.store(mode.0, Ordering::Release);
    }

    /// Sets or clears CLIENT CACHING.
    pub fn set_caching(&self, is_given: bool) {
        let bits = TrackingMode::CACHING.0;
        match is_given {
            true => self.tracking.mode.fetch_or(bits, Ordering::AcqRel),
            false => self.tracking.mode.fetch_and(!bits, Ordering::AcqRel),
        };
    }

    /// Records that the client which gets the invalidations is not there.
    pub fn note_broken_redirect(&self) {
        // It stays so until tracking is switched on or off again.
        self.tracking.mode.fetch_or(TrackingMode::BROKEN.0, Ordering::AcqRel);
    }
}
