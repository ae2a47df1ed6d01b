//! A target's address: `redis://[user[:password]@]host[:port][/db]`, `rediss://` with TLS.
//!
//! User and password may be percent-encoded. The database number is read and ignored: a cluster has
//! one. Printed, an address never shows its password.

use super::failure::Failure;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// The port of an address that names none.
pub const PORT_DEFAULT: u16 = 6379;

/// Where a server is and how to get in.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Url {
    /// Whether to speak TLS (`rediss://`).
    pub tls: bool,
    /// Name or address, without the brackets of IPv6.
    pub host: String,
    /// The port.
    pub port: u16,
    /// The user to AUTH as, if one is named.
    pub username: Option<String>,
    /// The password to AUTH with, if there is one.
    pub password: Option<String>,
}

impl Url {
    /// `host:port`, with brackets around an IPv6 address.
    #[must_use]
    pub fn address(&self) -> String {
        let Self { host, port, .. } = self;
        if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
    }

    /// The same way in, at another address.
    #[must_use]
    pub fn at(&self, host: &str, port: u16) -> Self {
        Self { host: host.to_owned(), port, ..self.clone() }
    }
}

impl FromStr for Url {
    type Err = Failure;

    fn from_str(text: &str) -> Result<Self, Failure> {
        let wrong = |why: &str| {
            // What stands before the last @ may be a password.
            let shown = text.rsplit_once('@').map_or(text, |(_, rest)| rest);
            Failure::usage(format!(
                "target {shown:?}: {why}; write redis://host:port or rediss://user:password@host:port"
            ))
        };
        let (tls, rest) = match text.split_once("://") {
            Some(("redis", rest)) => (false, rest),
            Some(("rediss", rest)) => (true, rest),
            Some((scheme, _)) => {
                return Err(wrong(&format!("there is no way to speak {scheme:?}")));
            }
            None => (false, text),
        };
        let rest = rest.split(['?', '#']).next().unwrap_or_default();
        let (way_in, place) =
            rest.rsplit_once('@').map_or((None, rest), |(way_in, place)| (Some(way_in), place));
        let (place, database) =
            place.split_once('/').map_or((place, ""), |(place, database)| (place, database));
        if !database.is_empty() && database.parse::<u32>().is_err() {
            return Err(wrong("what stands behind the / is not the number of a database"));
        }
        let (host, port) = match place.strip_prefix('[') {
            Some(rest) => {
                let (host, port) =
                    rest.split_once(']').ok_or_else(|| wrong("a [ without its ]"))?;
                (host, port.strip_prefix(':'))
            }
            None => place.split_once(':').map_or((place, None), |(host, port)| (host, Some(port))),
        };
        let port = match port {
            None => PORT_DEFAULT,
            Some(port) => port
                .parse()
                .ok()
                .filter(|&port| port != 0)
                .ok_or_else(|| wrong(&format!("{port:?} is not a port")))?,
        };
        if host.is_empty() {
            return Err(wrong("there is no host"));
        }
        let (username, password) = match way_in {
            None => (None, None),
            Some(way_in) => {
                let (user, password) =
                    way_in.split_once(':').map_or((way_in, None), |(u, p)| (u, Some(p)));
                let decode = |text: &str| {
                    decoded(text).ok_or_else(|| wrong("a % that is not followed by two digits"))
                };
                let user = Some(decode(user)?).filter(|user| !user.is_empty());
                (user, password.map(decode).transpose()?)
            }
        };
        Ok(Self { tls, host: host.to_owned(), port, username, password })
    }
}

/// `%41` becomes `A`.
fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let mut digit = || (rest.next()? as char).to_digit(16);
        bytes.push((digit()? * 16 + digit()?) as u8);
    }
    String::from_utf8(bytes).ok()
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.tls { "rediss://" } else { "redis://" })?;
        match (&self.username, &self.password) {
            (None, None) => {}
            (Some(user), None) => write!(f, "{user}@")?,
            (user, Some(_)) => write!(f, "{}:***@", user.as_deref().unwrap_or_default())?,
        }
        f.write_str(&self.address())
    }
}

impl fmt::Debug for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl TryFrom<String> for Url {
    type Error = Failure;

    fn try_from(text: String) -> Result<Self, Failure> {
        text.parse()
    }
}

impl From<Url> for String {
    fn from(url: Url) -> Self {
        url.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_and_shown_without_the_password() {
        for (text, shown) in [
            ("redis://localhost", "redis://localhost:6379"),
            ("127.0.0.1:7000", "redis://127.0.0.1:7000"),
            ("redis://:se%40cret@h:1/0", "redis://:***@h:1"),
            ("rediss://me:p@h", "rediss://me:***@h:6379"),
            ("redis://me@[::1]:70/3?x=y", "redis://me@[::1]:70"),
        ] {
            let url: Url = text.parse().expect(text);
            assert_eq!(url.to_string(), shown);
        }
        let url: Url = "redis://u:se%40cret@h:1".parse().expect("an address");
        assert_eq!(
            (url.username.as_deref(), url.password.as_deref()),
            (Some("u"), Some("se@cret"))
        );
    }

    #[test]
    fn what_is_no_address_is_refused_without_showing_the_password() {
        for text in [
            "http://h",
            "redis://",
            "h:0",
            "h:x",
            "redis://p:secret@h:99999",
            "[::1",
            "u:secret%4@h",
            "h/x",
        ] {
            let failure = text.parse::<Url>().expect_err(text);
            assert!(!failure.message.contains("secret"), "{}", failure.message);
        }
    }
}
