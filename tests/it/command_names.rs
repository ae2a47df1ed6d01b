//! No command is singled out by its name: what a command needs is a flag or a field of its row.

use std::collections::BTreeSet;

use syn::parse::{Parse as _, ParseStream};
use syn::visit::{self, Visit};

use crate::project_files;
use crate::source_graph::{attributes, is_test};

/// Where names of commands are in their place, and why.
const AT_HOME: &[(&str, &str)] = &[
    ("command/", "the rows and their functions"),
    ("check/", "reads what clients sent, commands without rows included"),
];

#[test]
fn no_command_is_matched_by_its_name_outside_its_row() {
    let names: BTreeSet<&str> = slotway::command::all().map(|spec| spec.name).collect();
    assert!(names.contains("get") && names.len() > 100, "the table was read");
    let mut found = Vec::new();
    for (path, text) in project_files::sources() {
        if !AT_HOME.iter().any(|(home, _)| path.starts_with(home)) {
            found.extend(matched(&text, &names).into_iter().map(|at| format!("src/{path}:{at}")));
        }
    }
    assert!(
        found.is_empty(),
        "commands are matched by name; a flag or field of the row should say it:\n{}",
        found.join("\n")
    );
}

/// The lines of a source that match a name of a command, or compare with one.
fn matched(text: &str, names: &BTreeSet<&str>) -> Vec<String> {
    let syntax = syn::parse_file(text).expect("it compiles");
    let mut finder = Finder { names, found: BTreeSet::new() };
    finder.visit_file(&syntax);
    let line = |line: usize| text.lines().nth(line - 1).unwrap_or_default().trim();
    finder.found.into_iter().map(|number| format!("{number}: {}", line(number))).collect()
}

struct Finder<'a> {
    names: &'a BTreeSet<&'a str>,
    /// Numbers of lines.
    found: BTreeSet<usize>,
}

impl Finder<'_> {
    fn check(&mut self, literal: &syn::Lit) {
        let text = match literal {
            syn::Lit::Str(text) => text.value(),
            syn::Lit::ByteStr(bytes) => String::from_utf8_lossy(&bytes.value()).into_owned(),
            _ => return,
        };
        // The code of an error reply, which has the name of a command by chance.
        if text == "READONLY" {
            return;
        }
        if self.names.contains(text.to_ascii_lowercase().as_str()) {
            self.found.insert(literal.span().start().line);
        }
    }

    /// Checks the literals that an operand of a comparison consists of.
    fn check_operand(&mut self, operand: &syn::Expr) {
        match operand {
            syn::Expr::Lit(literal) => self.check(&literal.lit),
            syn::Expr::Reference(inner) => self.check_operand(&inner.expr),
            syn::Expr::Paren(inner) => self.check_operand(&inner.expr),
            syn::Expr::Index(inner) => self.check_operand(&inner.expr),
            syn::Expr::Unary(inner) => self.check_operand(&inner.expr),
            syn::Expr::Array(all) => all.elems.iter().for_each(|one| self.check_operand(one)),
            syn::Expr::Call(call) => call.args.iter().for_each(|arg| self.check_operand(arg)),
            _ => {}
        }
    }
}

impl<'ast> Visit<'ast> for Finder<'_> {
    fn visit_item(&mut self, item: &'ast syn::Item) {
        if !is_test(attributes(item)) {
            visit::visit_item(self, item);
        }
    }

    fn visit_pat(&mut self, pattern: &'ast syn::Pat) {
        visit::visit_pat(self, pattern);
        if let syn::Pat::Lit(literal) = pattern {
            self.check(&literal.lit);
        }
    }

    fn visit_expr_binary(&mut self, expr: &'ast syn::ExprBinary) {
        visit::visit_expr_binary(self, expr);
        if matches!(expr.op, syn::BinOp::Eq(_) | syn::BinOp::Ne(_)) {
            self.check_operand(&expr.left);
            self.check_operand(&expr.right);
        }
    }

    fn visit_expr_method_call(&mut self, call: &'ast syn::ExprMethodCall) {
        visit::visit_expr_method_call(self, call);
        if call.method == "eq_ignore_ascii_case" {
            call.args.iter().for_each(|arg| self.check_operand(arg));
        } else if call.method == "contains" {
            self.check_operand(&call.receiver);
        }
    }

    fn visit_macro(&mut self, invoked: &'ast syn::Macro) {
        if invoked.path.is_ident("matches") {
            let parts = |input: ParseStream<'_>| {
                let value = syn::Expr::parse(input)?;
                input.parse::<syn::Token![,]>()?;
                let pattern = syn::Pat::parse_multi_with_leading_vert(input)?;
                input.parse::<proc_macro2::TokenStream>()?;
                Ok((value, pattern))
            };
            if let Ok((value, pattern)) = invoked.parse_body_with(parts) {
                let mut inner = Finder { names: self.names, found: BTreeSet::new() };
                inner.visit_expr(&value);
                inner.visit_pat(&pattern);
                self.found.extend(inner.found);
            }
        }
    }
}

#[test]
fn every_form_of_a_match_is_found() {
    let names = BTreeSet::from(["get", "ping"]);
    for (body, lines) in [
        ("match name {\n\"ping\" | \"x\" => {}\n_ => {}\n}", &["3: \"ping\" | \"x\" => {}"][..]),
        ("if name == b\"GET\" {}", &["2: if name == b\"GET\" {}"]),
        ("if name != &b\"get\"[..] {}", &["2: if name != &b\"get\"[..] {}"]),
        ("matches!(name, \"get\" if x)", &["2: matches!(name, \"get\" if x)"]),
        ("x.eq_ignore_ascii_case(\"get\")", &["2: x.eq_ignore_ascii_case(\"get\")"]),
        ("[\"get\", \"x\"].contains(x)", &["2: [\"get\", \"x\"].contains(x)"]),
        ("if let Some(\"get\") = x {}", &["2: if let Some(\"get\") = x {}"]),
        ("// \"get\" == x\nlet x = \"get\"; f(\"ping\")", &[]),
        ("if name == \"getting\" {}", &[]),
    ] {
        assert_eq!(matched(&format!("fn f() {{\n{body}\n}}"), &names), lines, "{body}");
    }
    assert_eq!(matched("#[cfg(test)]\nmod tests { fn f() { x == \"get\" } }", &names), [""; 0]);
}
