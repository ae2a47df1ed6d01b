//! Commands with subcommands: their HELP, and the errors for subcommands that do not exist.

use super::{Args, Refusal, Spec};
use crate::dialect::Product;
use crate::resp::{Sink, until_nul};

/// Errors show up to this many bytes of a name or of the arguments after it.
pub(super) const SHOWN_MAX: usize = 128;

/// The first `len_max` bytes of a text, or all if there are fewer.
pub(super) fn truncated(text: &[u8], len_max: usize) -> &[u8] {
    &text[..text.len().min(len_max)]
}

/// Writes the reply to a container's `HELP`: the server's text, or if it has no such container, one from
/// the rows.
pub(super) fn help(container: &Spec, product: &Product, out: &mut Sink<'_>) {
    if let Some(text) = help_of(product.help, container.name) {
        out.array(text.lines().count());
        text.lines().for_each(|line| out.simple(line));
        return;
    }
    out.array(1 + 2 * container.subcommands.len());
    out.simple(&format!(
        "{} <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
        container.name.to_ascii_uppercase()
    ));
    for sub in container.subcommands {
        out.simple(&sub.name.to_ascii_uppercase());
        out.simple(&format!("    {}", sub.summary));
    }
}

/// Returns a container's part of the texts of a server: the lines below its name, `[client]`.
fn help_of<'t>(texts: &'t str, container: &str) -> Option<&'t str> {
    let (_, part) = texts.split_once(&format!("[{container}]\n"))?;
    Some(part.split_once("\n[").map_or(part, |(part, _)| part))
}

/// The error for a subcommand that the container does not have.
pub(super) fn unknown_subcommand(container: &Spec, name: &[u8]) -> Refusal {
    let mut text = b"ERR unknown subcommand '".to_vec();
    text.extend(truncated(until_nul(name), SHOWN_MAX));
    text.extend(b"'. Try ");
    text.extend(container.name.to_ascii_uppercase().as_bytes());
    text.extend(b" HELP.");
    Refusal::new(text)
}

/// The error for a subcommand with more arguments than it takes.
pub(super) fn too_many_arguments(args: Args<'_>) -> Refusal {
    let before = b"ERR unknown subcommand or wrong number of arguments for '";
    let name = truncated(until_nul(args.get(1).unwrap_or_default()), SHOWN_MAX);
    let container = args.at(0).to_ascii_uppercase();
    Refusal::new([before, name, b"'. Try ", &container, b" HELP."].concat())
}
