//! What a file uses of the other files of its folder.

use std::collections::HashMap;

use proc_macro2::Span;
use syn::punctuated::Punctuated;
use syn::visit::{self, Visit};

use super::definitions::{
    Folder, Imports, Kind, Ty, WRAPPERS, attributes, is_test, last_name, node_of, only, ty,
};
use super::{Edges, Evidence, MODULE, Source};

/// Reads one file and adds its edges.
pub(super) struct Reader<'a> {
    folder: &'a Folder<'a>,
    source: &'a Source,
    node: String,
    imports: Imports,
    edges: &'a mut Edges,
    /// The type of `self`.
    own: Option<String>,
    /// The types of variables, by scope; `None` where it is unknown.
    scopes: Vec<HashMap<String, Option<Ty>>>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(folder: &'a Folder<'a>, source: &'a Source, edges: &'a mut Edges) -> Self {
        Self {
            folder,
            source,
            node: node_of(source),
            imports: Imports::default(),
            edges,
            own: None,
            scopes: Vec::new(),
        }
    }

    fn add(&mut self, to: &str, span: Span) {
        if to == self.node {
            return;
        }
        let line = span.start().line;
        let text = self.source.text.lines().nth(line - 1).unwrap_or_default().trim().to_owned();
        let evidence = Evidence { path: self.source.path.clone(), line, text };
        let edge = (self.node.clone(), to.to_owned());
        self.edges.entry(edge).or_default().insert(evidence);
    }

    /// Adds the edge of an item that is named here, unless it is common ground.
    fn add_item(&mut self, node: &str, item: &str, span: Span) {
        let is_function =
            self.folder.items.get(&(node.to_owned(), item.to_owned())) == Some(&Kind::Function);
        if is_function || (node != MODULE && self.node != MODULE) {
            self.add(node, span);
        }
    }

    fn add_method(&mut self, ty: &Ty, method: &str, span: Span) {
        if let Some(home) = self.folder.home_of(ty, method) {
            let home = home.to_owned();
            self.add(&home, span);
        }
    }

    // ── scopes ──

    fn within<T>(&mut self, work: impl FnOnce(&mut Self) -> T) -> T {
        self.scopes.push(HashMap::new());
        let done = work(self);
        self.scopes.pop();
        done
    }

    fn variable(&self, name: &str) -> Option<&Option<Ty>> {
        self.scopes.iter().rev().find_map(|scope| scope.get(name))
    }

    /// Enters the names that a pattern binds.
    fn bind(&mut self, pattern: &syn::Pat, ty: Option<Ty>) {
        match pattern {
            syn::Pat::Ident(inner) => {
                let name = inner.ident.to_string();
                if let (Some(scope), false) =
                    (self.scopes.last_mut(), name.starts_with(char::is_uppercase))
                {
                    scope.insert(name, ty);
                }
            }
            syn::Pat::Reference(inner) => self.bind(&inner.pat, ty),
            syn::Pat::Paren(inner) => self.bind(&inner.pat, ty),
            syn::Pat::Type(inner) => {
                let ty = self.ty(&inner.ty);
                self.bind(&inner.pat, ty);
            }
            syn::Pat::Tuple(inner) => {
                let mut args = match ty {
                    Some(ty) if ty.name == "(" && ty.args.len() == inner.elems.len() => ty.args,
                    _ => vec![],
                }
                .into_iter();
                inner.elems.iter().for_each(|elem| self.bind(elem, args.next()));
            }
            syn::Pat::TupleStruct(inner) => {
                let wraps = ["Some", "Ok"].iter().any(|name| inner.path.is_ident(name));
                let ty = ty.filter(|ty| wraps && WRAPPERS.contains(&ty.name.as_str()));
                let mut args = ty.map_or(vec![], |ty| ty.args).into_iter();
                inner.elems.iter().for_each(|elem| self.bind(elem, args.next()));
            }
            syn::Pat::Struct(inner) => {
                let name = inner.path.segments.last().map(|last| last.ident.to_string());
                let name = if name.as_deref() == Some("Self") { self.own.clone() } else { name };
                for field in &inner.fields {
                    let syn::Member::Named(member) = &field.member else { continue };
                    let key = (name.clone().unwrap_or_default(), member.to_string());
                    self.bind(&field.pat, self.folder.fields.get(&key).cloned());
                }
            }
            syn::Pat::Or(inner) => inner.cases.iter().for_each(|case| self.bind(case, None)),
            syn::Pat::Slice(inner) => inner.elems.iter().for_each(|elem| self.bind(elem, None)),
            _ => {}
        }
    }

    fn ty(&self, of: &syn::Type) -> Option<Ty> {
        ty(of, self.own.as_deref(), &self.imports.foreign)
    }

    /// The type of an expression, where it can be derived.
    fn type_of(&self, expr: &syn::Expr) -> Option<Ty> {
        match expr {
            syn::Expr::Path(path) => match path.path.get_ident() {
                Some(name) if name == "self" => Some(Ty { name: self.own.clone()?, args: vec![] }),
                Some(name) => self.variable(&name.to_string())?.clone(),
                None => None,
            },
            syn::Expr::Reference(inner) => self.type_of(&inner.expr),
            syn::Expr::Paren(inner) => self.type_of(&inner.expr),
            syn::Expr::Unary(inner) if matches!(inner.op, syn::UnOp::Deref(_)) => {
                self.type_of(&inner.expr)
            }
            syn::Expr::Await(inner) => self.type_of(&inner.base),
            syn::Expr::Try(inner) => {
                let mut ty = self.type_of(&inner.expr)?;
                let wraps = WRAPPERS.contains(&ty.name.as_str()) && !ty.args.is_empty();
                wraps.then(|| ty.args.swap_remove(0))
            }
            syn::Expr::Field(inner) => {
                let base = self.type_of(&inner.base)?;
                let name = match &inner.member {
                    syn::Member::Named(name) => name.to_string(),
                    syn::Member::Unnamed(index) => index.index.to_string(),
                };
                self.folder.fields.get(&(base.name, name)).cloned()
            }
            syn::Expr::MethodCall(call) => {
                let base = self.type_of(&call.receiver)?;
                self.folder.returns.get(&(base.name, call.method.to_string())).cloned()
            }
            syn::Expr::Call(call) => {
                let syn::Expr::Path(path) = &*call.func else { return None };
                let names = names_of(&path.path);
                let key = match &names[..] {
                    [function] => match self.imports.aliases.get(function) {
                        Some(place) => place.clone(),
                        None => (self.node.clone(), function.clone()),
                    },
                    [.., owner, function] if owner == "Self" => {
                        (self.own.clone()?, function.clone())
                    }
                    [.., owner, function] => (owner.clone(), function.clone()),
                    [] => return None,
                };
                self.folder.returns.get(&key).cloned()
            }
            syn::Expr::Struct(inner) => {
                let name = inner.path.segments.last()?.ident.to_string();
                let name = if name == "Self" { self.own.clone()? } else { name };
                Some(Ty { name, args: vec![] })
            }
            _ => None,
        }
    }
}

fn names_of(path: &syn::Path) -> Vec<String> {
    path.segments.iter().map(|segment| segment.ident.to_string()).collect()
}

/// Whether a name is so much like one of std that it says nothing of its definition.
fn is_like_std(name: &str) -> bool {
    const PREFIXES: &[&str] = &[
        "as_", "checked_", "fetch_", "from_", "get_", "into_", "is_", "map_", "next_", "or_",
        "peek_", "poll_", "pop_", "push_", "read_", "recv_", "send_", "set_", "split_", "start_",
        "starts_", "ends_", "strip_", "take_", "to_", "trim_", "try_", "unwrap_", "with_", "wait_",
        "write_",
    ];
    !name.contains('_') || PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

impl<'ast> Visit<'ast> for Reader<'_> {
    fn visit_file(&mut self, file: &'ast syn::File) {
        self.imports = self.folder.imports(self.source, file);
        for (node, span) in std::mem::take(&mut self.imports.lines) {
            // An imported function of common ground counts where it is called.
            if node != MODULE && self.node != MODULE {
                self.add(&node, span);
            }
        }
        visit::visit_file(self, file);
    }

    fn visit_item(&mut self, item: &'ast syn::Item) {
        // Inline modules would be another level of `super`; there are none but tests.
        if !is_test(attributes(item)) && !matches!(item, syn::Item::Use(_) | syn::Item::Mod(_)) {
            visit::visit_item(self, item);
        }
    }

    fn visit_item_impl(&mut self, item: &'ast syn::ItemImpl) {
        let before = std::mem::replace(&mut self.own, last_name(&item.self_ty));
        visit::visit_item_impl(self, item);
        self.own = before;
    }

    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        self.within(|reader| visit::visit_item_fn(reader, item));
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        if !is_test(&item.attrs) {
            self.within(|reader| visit::visit_impl_item_fn(reader, item));
        }
    }

    fn visit_fn_arg(&mut self, arg: &'ast syn::FnArg) {
        visit::visit_fn_arg(self, arg);
        if let syn::FnArg::Typed(arg) = arg {
            let ty = self.ty(&arg.ty);
            self.bind(&arg.pat, ty);
        }
    }

    fn visit_block(&mut self, block: &'ast syn::Block) {
        self.within(|reader| visit::visit_block(reader, block));
    }

    fn visit_local(&mut self, local: &'ast syn::Local) {
        visit::visit_local(self, local);
        let ty = local.init.as_ref().and_then(|init| self.type_of(&init.expr));
        self.bind(&local.pat, ty);
    }

    fn visit_expr_closure(&mut self, closure: &'ast syn::ExprClosure) {
        self.within(|reader| {
            closure.inputs.iter().for_each(|input| reader.bind(input, None));
            visit::visit_expr_closure(reader, closure);
        });
    }

    fn visit_expr_match(&mut self, expr: &'ast syn::ExprMatch) {
        self.visit_expr(&expr.expr);
        let ty = self.type_of(&expr.expr);
        for arm in &expr.arms {
            self.within(|reader| {
                reader.bind(&arm.pat, ty.clone());
                reader.visit_arm(arm);
            });
        }
    }

    fn visit_expr_if(&mut self, expr: &'ast syn::ExprIf) {
        self.within(|reader| visit::visit_expr_if(reader, expr));
    }

    fn visit_expr_while(&mut self, expr: &'ast syn::ExprWhile) {
        self.within(|reader| visit::visit_expr_while(reader, expr));
    }

    fn visit_expr_let(&mut self, expr: &'ast syn::ExprLet) {
        visit::visit_expr_let(self, expr);
        let ty = self.type_of(&expr.expr);
        self.bind(&expr.pat, ty);
    }

    fn visit_expr_for_loop(&mut self, expr: &'ast syn::ExprForLoop) {
        self.visit_expr(&expr.expr);
        self.within(|reader| {
            reader.bind(&expr.pat, None);
            reader.visit_block(&expr.body);
        });
    }

    fn visit_expr_method_call(&mut self, call: &'ast syn::ExprMethodCall) {
        visit::visit_expr_method_call(self, call);
        let method = call.method.to_string();
        if let Some(ty) = self.type_of(&call.receiver) {
            self.add_method(&ty, &method, call.method.span());
        } else if self.folder.names.get(&method) == Some(&1) && !is_like_std(&method) {
            let home = self.folder.inherent.get(&method).and_then(only).map(str::to_owned);
            if let Some(home) = home {
                self.add(&home, call.method.span());
            }
        }
    }

    fn visit_expr_path(&mut self, expr: &'ast syn::ExprPath) {
        visit::visit_expr_path(self, expr);
        // `Type::function`, called or passed on.
        let names = names_of(&expr.path);
        if let [.., owner, function] = &names[..]
            && function.starts_with(|c: char| c.is_ascii_lowercase() || c == '_')
            && owner.starts_with(char::is_uppercase)
        {
            let own = self.own.clone();
            let owner = if owner == "Self" { own } else { Some(owner.clone()) };
            let owner = owner.filter(|owner| !self.imports.foreign.contains(owner));
            if let Some(name) = owner {
                let span = expr.path.segments[0].ident.span();
                self.add_method(&Ty { name, args: vec![] }, function, span);
            }
        }
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        visit::visit_path(self, path);
        let names = names_of(path);
        let place = match &names[..] {
            [] => None,
            [name] if self.variable(name).is_some() => None,
            [first, rest @ ..] => match self.imports.aliases.get(first) {
                // A module of the folder by its name.
                Some((node, item)) if item.is_empty() => {
                    Some((node.clone(), rest.first().cloned().unwrap_or_default()))
                }
                Some(place) => Some(place.clone()),
                None => self.folder.locate(self.source, &names),
            },
        };
        if let Some((node, item)) = place {
            self.add_item(&node, &item, path.segments[0].ident.span());
        }
    }

    /// Reads the arguments of a macro that look like expressions.
    fn visit_macro(&mut self, invoked: &'ast syn::Macro) {
        visit::visit_macro(self, invoked);
        let list = Punctuated::<syn::Expr, syn::Token![,]>::parse_terminated;
        // As in `matches!`.
        let first = |input: syn::parse::ParseStream<'_>| {
            let first: syn::Expr = input.parse()?;
            input.parse::<proc_macro2::TokenStream>()?;
            Ok(Punctuated::from_iter([first]))
        };
        let args = invoked.parse_body_with(list).or_else(|_| invoked.parse_body_with(first));
        if let Ok(args) = args {
            // The arguments are parsed here, so this reader cannot visit them: they do not live as
            // long as the file.
            let mut inner = Reader {
                folder: self.folder,
                source: self.source,
                node: self.node.clone(),
                imports: std::mem::take(&mut self.imports),
                edges: self.edges,
                own: self.own.clone(),
                scopes: std::mem::take(&mut self.scopes),
            };
            args.iter().for_each(|arg| inner.visit_expr(arg));
            let (imports, scopes) = (inner.imports, inner.scopes);
            (self.imports, self.scopes) = (imports, scopes);
        }
    }
}
