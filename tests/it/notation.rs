//! The notation of answers: one line an element, in the type letters of RESP, and how an answer is
//! compared with a recorded one.
//!
//! Answers are compared as text. Different replies have different notations (a test below tries it), so
//! that is as exact as comparing bytes, and holes and directives work on text only.

use std::fmt::Write as _;

use crate::wire::{Answer, Reply, text};

/// Which order of elements is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    Exact,
    /// `@unordered`: the elements of an aggregate that holds no aggregate may be in any order.
    Elements,
    /// `@unordered pairs`: the same for an array of names and values in turn.
    Pairs,
    /// `@unordered rows`: the elements of the outermost aggregate may be in any order.
    Rows,
}

/// An answer as lines: an aggregate's elements are below it, indented by two columns.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Node {
    line: String,
    children: Vec<Node>,
}

/// No answer: the next one on the connection belongs to a later command.
pub(crate) const NOTHING: &str = "nothing";
/// The end of the connection.
pub(crate) const CLOSED: &str = "closed";

/// Parses lines into trees by their indentation.
pub(crate) fn trees(lines: &[String]) -> Result<Vec<Node>, String> {
    fn below<'a>(
        lines: &mut std::iter::Peekable<impl Iterator<Item = &'a String>>,
        indent: usize,
    ) -> Vec<Node> {
        let mut nodes = Vec::new();
        while let Some(line) = lines.next_if(|l| l.len() - l.trim_start().len() == indent) {
            let children = below(lines, indent + 2);
            nodes.push(Node { line: line.trim_start().to_owned(), children });
        }
        nodes
    }
    let mut rest = lines.iter().peekable();
    let nodes = below(&mut rest, 0);
    match rest.next() {
        Some(line) => Err(format!("an answer that is not indented by two columns a level: {line}")),
        None => Ok(nodes),
    }
}

impl Node {
    fn leaf(line: String) -> Self {
        Self { line, children: vec![] }
    }

    /// The notation of an answer.
    pub(crate) fn of(answer: &Answer) -> Self {
        match answer {
            Answer::Reply(reply) => Self::of_reply(reply),
            Answer::Closed => Self::leaf(CLOSED.to_owned()),
            Answer::Silent => Self::leaf("(no answer in time)".to_owned()),
            Answer::Malformed(what) => Self::leaf(format!("(no RESP reply: {what})")),
        }
    }

    fn of_reply(reply: &Reply) -> Self {
        let leaf =
            |sign: &str, bytes: &[u8]| Self::leaf(format!("{sign}{}", end_visibly(text(bytes))));
        let parent = |sign: char, count: usize, elements: &[Reply]| Self {
            line: format!("{sign}{count}"),
            children: elements.iter().map(Self::of_reply).collect(),
        };
        match reply {
            Reply::Simple(bytes) => leaf("+", bytes),
            Reply::Error(bytes) => leaf("-", bytes),
            Reply::Int(number) => Self::leaf(format!(":{number}")),
            Reply::Bulk(bytes) => Self::leaf(quoted(bytes)),
            Reply::NullBulk => Self::leaf("$-1".to_owned()),
            Reply::NullArray => Self::leaf("*-1".to_owned()),
            Reply::Array(elements) => parent('*', elements.len(), elements),
            Reply::Map(elements) => parent('%', elements.len() / 2, elements),
            Reply::Set(elements) => parent('~', elements.len(), elements),
            Reply::Push(elements) => parent('>', elements.len(), elements),
            Reply::Double(digits) => leaf(",", digits),
            Reply::Bool(truth) => Self::leaf(if *truth { "#t" } else { "#f" }.to_owned()),
            Reply::Null => Self::leaf("_".to_owned()),
            Reply::Verbatim(bytes) => Self::leaf(format!("={}", quoted(bytes))),
            Reply::Big(digits) => leaf("(", digits),
        }
    }

    /// The same answer with each text of several lines (`@lines`) divided into them: they are below an
    /// empty text.
    pub(crate) fn by_line(&self) -> Self {
        let head = if self.line.starts_with("=\"txt:") { "=\"txt:" } else { "\"" };
        let text = self.line.strip_prefix(head).and_then(|rest| rest.strip_suffix('"'));
        match text.filter(|text| text.contains("\\n")) {
            Some(text) => {
                let lines = text.split_inclusive("\\n");
                let children = lines.map(|line| Self::leaf(format!("\"{line}\""))).collect();
                Self { line: format!("{head}\""), children }
            }
            None => Self {
                line: self.line.clone(),
                children: self.children.iter().map(Self::by_line).collect(),
            },
        }
    }

    /// The same answer with each line replaced by `rewrite`, which also gets the line before it in the
    /// same aggregate.
    pub(crate) fn rewritten(&self, rewrite: &impl Fn(Option<&str>, &str) -> String) -> Self {
        let mut before = None;
        let mut children = Vec::new();
        for child in &self.children {
            let below = child.rewritten(rewrite).children;
            children.push(Self { line: rewrite(before, &child.line), children: below });
            before = Some(child.line.as_str());
        }
        Self { line: rewrite(None, &self.line), children }
    }

    /// No answer.
    pub(crate) fn nothing() -> Self {
        Self::leaf(NOTHING.to_owned())
    }

    pub(crate) fn is(&self, line: &str) -> bool {
        self.line == line
    }

    /// Whether an answer has holes: then it was written by hand, and a recording keeps it.
    pub(crate) fn has_holes(&self) -> bool {
        self.line == "..."
            || holes(&self.line).iter().any(|part| !matches!(part, Part::Text(_)))
            || self.children.iter().any(Self::has_holes)
    }

    /// Whether the answer `got` is the recorded one.
    pub(crate) fn accepts(&self, got: &Self, order: Order) -> bool {
        self.sorted(order, true).fits(&got.sorted(order, true))
    }

    fn fits(&self, got: &Self) -> bool {
        // Before the last place, `...` is any one element.
        if self.line == "..." {
            return true;
        }
        if !line_fits(&self.line, &got.line) {
            return false;
        }
        // At the end, `...` is any number of further elements.
        let (wanted, open) = match self.children.split_last() {
            Some((last, wanted)) if last.line == "..." => (wanted, true),
            _ => (&self.children[..], false),
        };
        (wanted.len() == got.children.len() || (open && wanted.len() <= got.children.len()))
            && wanted.iter().zip(&got.children).all(|(wanted, got)| wanted.fits(got))
    }

    /// The same answer with sorted elements where their order is not compared.
    pub(crate) fn sorted(&self, order: Order, outermost: bool) -> Self {
        let flat = self.children.iter().all(|child| child.children.is_empty());
        let group = match order {
            Order::Elements | Order::Pairs if flat && self.line.starts_with('%') => 2,
            Order::Pairs if flat => 2,
            Order::Elements if flat => 1,
            Order::Rows if outermost => 1,
            _ => 0,
        };
        let mut children: Vec<_> = self.children.iter().map(|c| c.sorted(order, false)).collect();
        if group > 0 {
            let mut groups: Vec<_> = children.chunks(group).map(<[_]>::to_vec).collect();
            groups.sort();
            children = groups.concat();
        }
        Self { line: self.line.clone(), children }
    }

    /// The bytes to remember under `@as`: the reply itself, or an aggregate's first element.
    pub(crate) fn saved(answer: &Answer) -> Option<Vec<u8>> {
        let Answer::Reply(reply) = answer else { return None };
        match reply {
            Reply::Simple(bytes) | Reply::Bulk(bytes) => Some(bytes.clone()),
            Reply::Int(number) => Some(number.to_string().into_bytes()),
            Reply::Array(elements) => Self::saved(&Answer::Reply(elements.first()?.clone())),
            _ => None,
        }
    }

    /// Appends the answer as in a file, indented by this many columns.
    pub(crate) fn write(&self, out: &mut String, indent: usize) {
        let _ = writeln!(out, "{:indent$}{}", "", self.line);
        self.children.iter().for_each(|child| child.write(out, indent + 2));
    }
}

impl std::fmt::Display for Node {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut out = String::new();
        self.write(&mut out, 0);
        f.write_str(&out)
    }
}

/// A bulk between quotes; a long run of one byte is written once, with a count.
fn quoted(bytes: &[u8]) -> String {
    match bytes {
        [first, ..] if bytes.len() > 64 && bytes.iter().all(|byte| byte == first) => {
            format!("\"{}\"*{}", text(&[*first]), bytes.len())
        }
        _ => format!("\"{}\"", text(bytes)),
    }
}

/// Escapes a space at the end of a line: editors remove it.
fn end_visibly(mut line: String) -> String {
    if line.ends_with(' ') {
        line.pop();
        line.push_str("\\x20");
    }
    line
}

/// A piece of a recorded line.
#[derive(Debug, PartialEq)]
enum Part<'a> {
    Text(&'a str),
    /// `<any>`: any text, none included.
    Any,
    /// `<int>`: an integer; `<1..9>`: one within these bounds, both included.
    Int(i64, i64),
}

/// Splits a recorded line at its holes.
fn holes(line: &str) -> Vec<Part<'_>> {
    let mut parts = Vec::new();
    let mut text_from = 0;
    let mut at = 0;
    while let Some(open) = line[at..].find('<').map(|i| at + i) {
        at = open + 1;
        let Some(close) = line[at..].find('>').map(|i| at + i) else { break };
        let hole = match &line[at..close] {
            "any" => Part::Any,
            "int" => Part::Int(i64::MIN, i64::MAX),
            range => match range.split_once("..").map(|(low, high)| (low.parse(), high.parse())) {
                Some((Ok(low), Ok(high))) => Part::Int(low, high),
                _ => continue,
            },
        };
        parts.push(Part::Text(&line[text_from..open]));
        parts.push(hole);
        text_from = close + 1;
        at = text_from;
    }
    parts.push(Part::Text(&line[text_from..]));
    parts
}

fn line_fits(wanted: &str, got: &str) -> bool {
    fn fits(parts: &[Part<'_>], got: &str) -> bool {
        match parts {
            [] => got.is_empty(),
            [Part::Text(text), rest @ ..] => {
                got.strip_prefix(text).is_some_and(|got| fits(rest, got))
            }
            [Part::Any, rest @ ..] => {
                got.char_indices().any(|(i, _)| fits(rest, &got[i..])) || fits(rest, "")
            }
            [Part::Int(low, high), rest @ ..] => {
                let sign = usize::from(got.starts_with('-'));
                let digits = got[sign..].bytes().take_while(u8::is_ascii_digit).count();
                let (number, got) = got.split_at(sign + digits);
                number.parse().is_ok_and(|n: i64| (*low..=*high).contains(&n)) && fits(rest, got)
            }
        }
    }
    fits(&holes(wanted), got)
}

// A comparison that accepts everything would pass every test, so it has tests itself.
#[cfg(test)]
mod tests {
    use super::*;
    use crate::transcript::Transcript;

    fn bulk(text: &str) -> Reply {
        Reply::Bulk(text.as_bytes().to_vec())
    }

    /// Whether the first step of `file` accepts `reply`.
    fn accepts(file: &str, reply: Reply) -> bool {
        let file = Transcript::parse(file).expect("the file is well formed");
        let step = &file.steps[0];
        step.answers[0].accepts(&Node::of(&Answer::Reply(reply)), step.order)
    }

    #[test]
    fn similar_types_are_distinguished() {
        let replies = [
            ("+1", Reply::Simple(b"1".to_vec())),
            ("-1", Reply::Error(b"1".to_vec())),
            (":1", Reply::Int(1)),
            ("\"1\"", bulk("1")),
            (",1", Reply::Double(b"1".to_vec())),
            ("(1", Reply::Big(b"1".to_vec())),
            ("=\"1\"", Reply::Verbatim(b"1".to_vec())),
            ("$-1", Reply::NullBulk),
            ("*-1", Reply::NullArray),
            ("_", Reply::Null),
            ("#t", Reply::Bool(true)),
            ("#f", Reply::Bool(false)),
            ("*0", Reply::Array(vec![])),
            ("%0", Reply::Map(vec![])),
            ("~0", Reply::Set(vec![])),
            (">0", Reply::Push(vec![])),
            ("*1\n  *0", Reply::Array(vec![Reply::Array(vec![])])),
        ];
        for (wanted, _) in &replies {
            for (notation, reply) in &replies {
                let file = format!("a> X\n{wanted}\n");
                assert_eq!(accepts(&file, reply.clone()), wanted == notation, "{wanted} {reply:?}");
            }
        }
    }

    #[test]
    fn order_is_compared_unless_a_directive_says_otherwise() {
        let reply = |words: &[&str]| Reply::Array(words.iter().map(|word| bulk(word)).collect());
        let file = "a> X\n*4\n  \"a\"\n  \"1\"\n  \"b\"\n  \"2\"\n";
        let ways: [(&[&str], [bool; 3]); 5] = [
            (&["a", "1", "b", "2"], [true, true, true]),
            (&["b", "2", "a", "1"], [false, true, true]),
            (&["a", "2", "b", "1"], [false, true, false]),
            (&["a", "1", "b", "b"], [false, false, false]),
            (&["a", "1", "b"], [false, false, false]),
        ];
        for (words, [exact, elements, pairs]) in ways {
            assert_eq!(accepts(file, reply(words)), exact, "{words:?}");
            assert_eq!(
                accepts(&format!("@unordered\n{file}"), reply(words)),
                elements,
                "{words:?}"
            );
            assert_eq!(
                accepts(&format!("@unordered pairs\n{file}"), reply(words)),
                pairs,
                "{words:?}"
            );
        }
    }

    #[test]
    fn a_text_can_be_written_line_by_line() {
        let written = |reply| Node::of(&Answer::Reply(reply)).by_line().to_string();
        assert_eq!(written(bulk("a\r\nb\nc")), "\"\"\n  \"a\\r\\n\"\n  \"b\\n\"\n  \"c\"\n");
        assert_eq!(written(bulk("a b")), "\"a b\"\n");
        assert_eq!(written(Reply::Array(vec![bulk("\n")])), "*1\n  \"\"\n    \"\\n\"\n");
        assert_eq!(written(Reply::Verbatim(b"txt:a\n".to_vec())), "=\"txt:\"\n  \"a\\n\"\n");
    }

    #[test]
    fn holes_fit_what_they_say() {
        for (pattern, got, fits) in [
            ("\"id=<int> x\"", "id=12 x", true),
            ("\"id=<int> x\"", "id= x", false),
            ("\"id=<int> x\"", "id=1a x", false),
            ("\"<5..10>\"", "10", true),
            ("\"<5..10>\"", "11", false),
            ("\"<-2..0>\"", "-1", true),
            ("\"a<any>c<any>\"", "abcbc", true),
            ("\"a<any>c\"", "ac", true),
            ("\"a<any>c\"", "ab", false),
            ("\"AUTH <password>\"", "AUTH <password>", true),
            ("\"AUTH <password>\"", "AUTH secret", false),
        ] {
            assert_eq!(accepts(&format!("a> X\n{pattern}\n"), bulk(got)), fits, "{pattern} {got}");
        }
        let some = || Reply::Array(vec![bulk("a"), bulk("b")]);
        assert!(accepts("a> X\n*2\n  \"a\"\n  ...\n", some()));
        assert!(!accepts("a> X\n*2\n  \"b\"\n  ...\n", some()));
        assert!(!accepts("a> X\n*3\n  \"a\"\n  ...\n", some()));
    }
}
