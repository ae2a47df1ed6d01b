//! A target's address: `redis://[user[:password]@]host[:port][/db]`, `rediss://` with TLS.
//!
//! The scheme may be left out. User and password may be percent-encoded. The database number is
//! parsed and ignored: a cluster has only one. Printed, an address never shows its password.
//!
//! The `url` crate would bring 27 more crates, most of them tables of international domain names,
//! which do not apply to `redis://`. It also refuses addresses that are accepted here: a password
//! with a `/`, an IPv6 address with a zone.

use super::failure::Failure;
use percent_encoding::percent_decode_str;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// The port of an address that names none.
pub(crate) const PORT_DEFAULT: u16 = 6379;

/// Where a server is and how to log in.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Url {
    /// Whether to use TLS (`rediss://`).
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

    /// Another address with the same scheme, user and password.
    #[must_use]
    pub fn at(&self, host: &str, port: u16) -> Self {
        Self { host: host.to_owned(), port, ..self.clone() }
    }

    fn parse(text: &str) -> Result<Self, String> {
        let (tls, rest) = match text.split_once("://") {
            Some(("redis", rest)) => (false, rest),
            Some(("rediss", rest)) => (true, rest),
            Some((scheme, _)) => return Err(format!("unsupported scheme {scheme:?}")),
            None => (false, text),
        };
        let rest = rest.split(['?', '#']).next().unwrap_or_default();
        // The last @: a password may contain others.
        let (login, place) = match rest.rsplit_once('@') {
            Some((login, place)) => (Some(login), place),
            None => (None, rest),
        };
        let (authority, database) = place.split_once('/').unwrap_or((place, ""));
        if !database.is_empty() && database.parse::<u32>().is_err() {
            return Err(format!("{database:?} is not a database number"));
        }
        let (host, port) = split_port(authority)?;
        if host.is_empty() {
            return Err("missing host".to_owned());
        }
        let port = match port {
            None => PORT_DEFAULT,
            Some(port) => match port.parse() {
                Ok(0) | Err(_) => return Err(format!("{port:?} is not a port")),
                Ok(port) => port,
            },
        };
        let (user, password) = match login.map(|login| login.split_once(':').ok_or(login)) {
            None => (None, None),
            Some(Ok((user, password))) => (Some(user), Some(password)),
            Some(Err(user)) => (Some(user), None),
        };
        let username = user.filter(|user| !user.is_empty()).map(percent_decoded).transpose()?;
        let password = password.map(percent_decoded).transpose()?;
        Ok(Self { tls, host: host.to_owned(), port, username, password })
    }
}

/// Splits `host:port` or `[host]:port`.
fn split_port(authority: &str) -> Result<(&str, Option<&str>), String> {
    if let Some(rest) = authority.strip_prefix('[') {
        let (host, port) = rest.split_once(']').ok_or("[ without ]")?;
        return Ok((host, port.strip_prefix(':')));
    }
    Ok(match authority.split_once(':') {
        Some((host, port)) => (host, Some(port)),
        None => (authority, None),
    })
}

/// Decodes `%41` to `A`. The crate leaves an incomplete `%4` as it is, which would be a wrong
/// password without an error.
fn percent_decoded(text: &str) -> Result<String, String> {
    let is_hex = |rest: &str| rest.bytes().take(2).filter(u8::is_ascii_hexdigit).count() == 2;
    if !text.split('%').skip(1).all(is_hex) {
        return Err("% is not followed by two hexadecimal digits".to_owned());
    }
    let decoded = percent_decode_str(text).decode_utf8();
    decoded.map(Into::into).map_err(|_| "user or password is not UTF-8".to_owned())
}

impl FromStr for Url {
    type Err = Failure;

    fn from_str(text: &str) -> Result<Self, Failure> {
        Self::parse(text).map_err(|why| {
            // A password may be in front of the last @.
            let shown = text.rsplit_once('@').map_or(text, |(_, place)| place);
            Failure::usage(format!(
                "target {shown:?}: {why}; write redis://host:port or rediss://user:password@host:port"
            ))
        })
    }
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
            ("[fe80::1%eth0]", "redis://[fe80::1%eth0]:6379"),
        ] {
            let url: Url = text.parse().expect(text);
            assert_eq!(url.to_string(), shown);
        }
    }

    #[test]
    fn passwords_may_contain_delimiters() {
        for (text, user, password) in [
            ("redis://u:se%40cret@h:1", Some("u"), Some("se@cret")),
            ("redis://:a@b@h", None, Some("a@b")),
            ("redis://:a/b:c+d@h/0", None, Some("a/b:c+d")),
            ("redis://u%3A:%25@h", Some("u:"), Some("%")),
            ("redis://:@h", None, Some("")),
            ("redis://u@h", Some("u"), None),
            ("redis://h", None, None),
        ] {
            let url: Url = text.parse().expect(text);
            assert_eq!(url.host, "h", "{text}");
            assert_eq!((url.username.as_deref(), url.password.as_deref()), (user, password));
        }
    }

    #[test]
    fn invalid_addresses_are_refused_without_showing_the_password() {
        for (text, why) in [
            ("http://h", "unsupported scheme \"http\""),
            ("redis://", "missing host"),
            ("h:0", "\"0\" is not a port"),
            ("h:x", "\"x\" is not a port"),
            ("redis://p:secret@h:99999", "\"99999\" is not a port"),
            ("[::1", "[ without ]"),
            ("u:secret%4@h", "% is not followed by two hexadecimal digits"),
            ("u:secret%4x@h", "% is not followed by two hexadecimal digits"),
            ("u:secret%ff@h", "not UTF-8"),
            ("h/x", "\"x\" is not a database number"),
        ] {
            let failure = text.parse::<Url>().expect_err(text);
            assert!(failure.message.contains(why), "{text}: {}", failure.message);
            assert!(!failure.message.contains("secret"), "{}", failure.message);
        }
    }
}
