//! The command of `slotway run` as reports show it: without the passwords in it. Reports are kept
//! by CI systems and read by more people than may know them.

/// What replaces a password, as in MONITOR.
const REDACTED: &str = "(redacted)";
/// A name with one of these in it, of an option or a variable, is one of a secret.
const SECRET_NAMES: [&str; 4] = ["pass", "secret", "token", "apikey"];
/// Programs whose option `-a` is a password.
const REDIS_PROGRAMS: [&str; 4] =
    ["redis-cli", "valkey-cli", "redis-benchmark", "valkey-benchmark"];

/// Returns the words of a command in one line. Hidden are the values of options and variables with a
/// telling name (`--password x`, `REDIS_PASSWORD=x`), of redis-cli's `-a`, and the passwords in URLs;
/// also in a word that is a script.
pub(super) fn shown_command<'w>(words: impl Iterator<Item = std::borrow::Cow<'w, str>>) -> String {
    let line = words.collect::<Vec<_>>().join(" ");
    let (mut shown, mut is_redis, mut is_next_secret) = (String::new(), false, false);
    for word in line.split_inclusive(char::is_whitespace) {
        let text = word.trim_end_matches(char::is_whitespace);
        let is_option = text.starts_with('-');
        if std::mem::take(&mut is_next_secret) && !is_option && !text.is_empty() {
            shown.push_str(REDACTED);
        } else {
            shown.push_str(&without_secret(text));
            is_redis |= REDIS_PROGRAMS.iter().any(|program| text.ends_with(program));
            let is_named = is_option && !text.contains('=') && has_secret_name(text);
            is_next_secret = is_named || (is_redis && text == "-a");
        }
        shown.push_str(&word[text.len()..]);
    }
    shown
}

/// Returns a word without the secret that it holds by itself.
fn without_secret(word: &str) -> String {
    if let Some((name, value)) = word.split_once('=')
        && has_secret_name(name)
        && !value.is_empty()
    {
        return format!("{name}={REDACTED}");
    }
    // scheme://user:password@host
    if let Some((scheme, rest)) = word.split_once("://")
        && let Some((login, host)) = rest.rsplit_once('@')
        && let Some((user, _password)) = login.split_once(':')
    {
        return format!("{scheme}://{user}:{REDACTED}@{host}");
    }
    word.to_owned()
}

fn has_secret_name(name: &str) -> bool {
    let name = name.to_ascii_lowercase().replace(['-', '_'], "");
    SECRET_NAMES.iter().any(|secret| name.contains(secret))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_not_shown() {
        for (command, shown) in [
            ("pytest -a tests", "pytest -a tests"),
            ("redis-cli -a s3cret -p 7000 get a", "redis-cli -a (redacted) -p 7000 get a"),
            ("bash -c /usr/bin/redis-cli\t-a s3cret", "bash -c /usr/bin/redis-cli\t-a (redacted)"),
            ("worker --redis-password s3cret --n 3", "worker --redis-password (redacted) --n 3"),
            ("worker --password=s3cret x", "worker --password=(redacted) x"),
            ("worker --ask-pass --n 3", "worker --ask-pass --n 3"),
            (
                "env REDIS_PASSWORD=s3cret API_KEY=k npm test",
                "env REDIS_PASSWORD=(redacted) API_KEY=(redacted) npm test",
            ),
            ("worker redis://:s3c@ret@db:6379/0", "worker redis://:(redacted)@db:6379/0"),
            ("worker rediss://me:s3cret@db", "worker rediss://me:(redacted)@db"),
            ("curl http://host/a@b", "curl http://host/a@b"),
            ("worker --password", "worker --password"),
        ] {
            let words = command.split(' ').map(std::borrow::Cow::Borrowed);
            assert_eq!(shown_command(words), shown);
        }
    }
}
