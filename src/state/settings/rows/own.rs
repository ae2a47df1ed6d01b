//! The parameters that no other server has.

use super::super::row::{Row, SetRule, yes_no};
use super::super::value_type::{Value, ValueType};
use super::super::{CrossSlot, SHARED_SHARDS, number};
use crate::topology::LAG_MS_MAX;
use std::sync::atomic::Ordering;

pub(super) const ROWS: &[Row] = &[
    yes_no!("explain", explain),
    Row {
        name: "cross-slot",
        value_type: ValueType::OneOf(&CrossSlot::WORDS),
        get: |settings| Value::Word(settings.cross_slot().name()),
        set: SetRule::Freely(|settings, value| {
            let chosen = CrossSlot::WORDS.iter().position(|&word| value == Value::Word(word));
            settings.cross_slot.store(chosen.unwrap_or(0) as u8, Ordering::Relaxed);
        }),
    },
    Row {
        name: "replica-lag",
        value_type: ValueType::Int(0, LAG_MS_MAX as i128),
        get: |settings| Value::Number(number(&settings.replica_lag).max(0).into()),
        set: SetRule::Checked(
            |settings, value| match number(&settings.replica_lag) {
                SHARED_SHARDS if value.number() != 0 => {
                    Err("replicas serve from their masters' shards: start with --replica-lag"
                        .into())
                }
                _ => Ok(()),
            },
            |settings, value| {
                if number(&settings.replica_lag) != SHARED_SHARDS {
                    settings.set_replica_lag(value.number());
                }
            },
        ),
    },
];
