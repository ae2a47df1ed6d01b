//! What the files of a folder define and import.

use std::collections::{BTreeSet, HashMap, HashSet};

use proc_macro2::Span;
use syn::visit::{self, Visit};

use super::{MODULE, Source};

/// A type as far as it is derived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ty {
    pub(super) name: String,
    pub(super) args: Vec<Ty>,
}

/// What an item is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Function,
    Other,
}

/// All definitions of a folder.
pub(super) struct Folder<'a> {
    /// The path in the crate.
    path: Vec<String>,
    pub(super) names: &'a HashMap<String, usize>,
    children: BTreeSet<String>,
    /// Items by node and name.
    pub(super) items: HashMap<(String, String), Kind>,
    /// The nodes that define a type, by its name.
    types: HashMap<String, BTreeSet<String>>,
    /// The nodes that define a method, by type and name.
    methods: HashMap<(String, String), BTreeSet<String>>,
    /// The nodes that define an inherent method, by name.
    pub(super) inherent: HashMap<String, BTreeSet<String>>,
    /// Names that the module file imports from its children.
    reexports: HashMap<String, (String, String)>,
    pub(super) fields: HashMap<(String, String), Ty>,
    /// Return types of methods, and of functions by their node.
    pub(super) returns: HashMap<(String, String), Ty>,
    /// `Deref::Target` by type.
    targets: HashMap<String, Ty>,
}

impl<'a> Folder<'a> {
    pub(super) fn new(path: &str, names: &'a HashMap<String, usize>) -> Self {
        Self {
            path: path.split("::").map(str::to_owned).collect(),
            names,
            children: BTreeSet::new(),
            items: HashMap::new(),
            types: HashMap::new(),
            methods: HashMap::new(),
            inherent: HashMap::new(),
            reexports: HashMap::new(),
            fields: HashMap::new(),
            returns: HashMap::new(),
            targets: HashMap::new(),
        }
    }

    /// Enters the names of a file.
    pub(super) fn declare(&mut self, source: &Source, syntax: &syn::File) {
        let node = node_of(source);
        self.children.extend(source.child.clone());
        for item in syntax.items.iter().filter(|item| !is_test(attributes(item))) {
            let (name, kind) = match item {
                syn::Item::Fn(item) => (&item.sig.ident, Kind::Function),
                syn::Item::Struct(item) => (&item.ident, Kind::Other),
                syn::Item::Enum(item) => (&item.ident, Kind::Other),
                syn::Item::Trait(item) => (&item.ident, Kind::Other),
                syn::Item::Type(item) => (&item.ident, Kind::Other),
                syn::Item::Const(item) => (&item.ident, Kind::Other),
                syn::Item::Static(item) => (&item.ident, Kind::Other),
                syn::Item::Impl(item) => {
                    self.declare_impl(&node, item);
                    continue;
                }
                _ => continue,
            };
            // Below a child's own file, names are not the child's.
            if source.depth <= 1 {
                self.items.insert((node.clone(), name.to_string()), kind);
            }
            if !matches!(item, syn::Item::Fn(_) | syn::Item::Const(_) | syn::Item::Static(_)) {
                self.types.entry(name.to_string()).or_default().insert(node.clone());
            }
        }
    }

    fn declare_impl(&mut self, node: &str, item: &syn::ItemImpl) {
        let Some(name) = last_name(&item.self_ty) else { return };
        for method in item.items.iter().filter_map(as_method) {
            let method = method.sig.ident.to_string();
            let of_type = self.methods.entry((name.clone(), method.clone())).or_default();
            of_type.insert(node.to_owned());
            if item.trait_.is_none() {
                self.inherent.entry(method).or_default().insert(node.to_owned());
            }
        }
    }

    /// Enters the types of fields and functions of a file, once all names are known.
    pub(super) fn describe(&mut self, source: &Source, syntax: &syn::File) {
        let node = node_of(source);
        let imports = self.imports(source, syntax);
        if source.depth == 0 {
            let own = imports.aliases.iter().filter(|(_, (node, _))| node != MODULE);
            self.reexports = own.map(|(name, place)| (name.clone(), place.clone())).collect();
        }
        let foreign = &imports.foreign;
        for item in syntax.items.iter().filter(|item| !is_test(attributes(item))) {
            match item {
                syn::Item::Struct(item) => {
                    for (at, field) in item.fields.iter().enumerate() {
                        let name = field.ident.as_ref().map_or(at.to_string(), ToString::to_string);
                        if let Some(ty) = ty(&field.ty, None, foreign) {
                            self.fields.insert((item.ident.to_string(), name), ty);
                        }
                    }
                }
                syn::Item::Fn(item) => {
                    self.describe_fn(node.clone(), &item.sig, None, foreign);
                }
                syn::Item::Impl(item) => {
                    let Some(name) = last_name(&item.self_ty) else { continue };
                    for inner in &item.items {
                        match inner {
                            syn::ImplItem::Fn(method) if !is_test(&method.attrs) => {
                                self.describe_fn(name.clone(), &method.sig, Some(&name), foreign);
                            }
                            syn::ImplItem::Type(target) if target.ident == "Target" => {
                                let target = ty(&target.ty, Some(&name), foreign);
                                self.targets.extend(target.map(|target| (name.clone(), target)));
                            }
                            _ => {}
                        }
                    }
                }
                _ => {}
            }
        }
    }

    fn describe_fn(
        &mut self,
        owner: String,
        signature: &syn::Signature,
        own: Option<&str>,
        foreign: &HashSet<String>,
    ) {
        let syn::ReturnType::Type(_, returned) = &signature.output else { return };
        if let Some(ty) = ty(returned, own, foreign) {
            self.returns.insert((owner, signature.ident.to_string()), ty);
        }
    }

    /// What the `use` items of a file import.
    pub(super) fn imports(&self, source: &Source, syntax: &syn::File) -> Imports {
        let mut imports = Imports::default();
        for item in &syntax.items {
            let syn::Item::Use(item) = item else { continue };
            if !is_test(&item.attrs) {
                self.import(source, &item.tree, &mut Vec::new(), &mut imports);
            }
        }
        imports
    }

    fn import(
        &self,
        source: &Source,
        tree: &syn::UseTree,
        path: &mut Vec<String>,
        into: &mut Imports,
    ) {
        let mut end = |name: &syn::Ident, alias: &syn::Ident| {
            let mut all = path.clone();
            if name != "self" {
                all.push(name.to_string());
            }
            let alias = if alias == "self" { all.last().cloned() } else { Some(alias.to_string()) };
            let Some(alias) = alias else { return };
            match self.locate(source, &all) {
                Some((node, item)) => {
                    into.lines.push((node.clone(), name.span()));
                    into.aliases.insert(alias, (node, item));
                }
                None => _ = into.foreign.insert(alias),
            }
        };
        match tree {
            syn::UseTree::Path(inner) => {
                path.push(inner.ident.to_string());
                self.import(source, &inner.tree, path, into);
                path.pop();
            }
            syn::UseTree::Name(inner) => end(&inner.ident, &inner.ident),
            syn::UseTree::Rename(inner) => end(&inner.ident, &inner.rename),
            syn::UseTree::Group(group) => {
                group.items.iter().for_each(|tree| self.import(source, tree, path, into));
            }
            _ => {}
        }
    }

    /// The node and the item that a path leads to if it stays in the folder. Names of the module file
    /// that come from a child lead to the child.
    pub(super) fn locate(&self, source: &Source, path: &[String]) -> Option<(String, String)> {
        let ups = path.iter().take_while(|step| *step == "super").count();
        let inside = if path.first()? == "crate" {
            path[1..].strip_prefix(&self.path[..])?
        } else if ups > 0 {
            (ups == source.depth).then_some(&path[ups..])?
        } else if source.depth == 0 {
            path.strip_prefix(&["self".to_owned()][..]).unwrap_or(path)
        } else {
            return None;
        };
        let (first, rest) = inside.split_first()?;
        if self.children.contains(first) {
            return Some((first.clone(), rest.first().cloned().unwrap_or_default()));
        }
        if let Some(place) = self.reexports.get(first) {
            return Some(place.clone());
        }
        let own = (MODULE.to_owned(), first.clone());
        self.items.contains_key(&own).then_some(own)
    }

    /// The one node that defines the method of a type.
    pub(super) fn home_of(&self, ty: &Ty, method: &str) -> Option<&str> {
        if self.types.get(&ty.name).is_some_and(|nodes| nodes.len() > 1) {
            return None;
        }
        match self.methods.get(&(ty.name.clone(), method.to_owned())) {
            Some(nodes) => only(nodes),
            None => self.home_of(self.targets.get(&ty.name)?, method),
        }
    }
}

#[derive(Default)]
pub(super) struct Imports {
    /// The node and item behind a name.
    pub(super) aliases: HashMap<String, (String, String)>,
    /// Names from outside the folder.
    pub(super) foreign: HashSet<String>,
    /// The nodes that are imported from, and where.
    pub(super) lines: Vec<(String, Span)>,
}

pub(super) fn node_of(source: &Source) -> String {
    source.child.clone().unwrap_or(MODULE.to_owned())
}

pub(super) fn only(nodes: &BTreeSet<String>) -> Option<&str> {
    if nodes.len() == 1 { nodes.first().map(String::as_str) } else { None }
}

fn as_method(item: &syn::ImplItem) -> Option<&syn::ImplItemFn> {
    match item {
        syn::ImplItem::Fn(method) if !is_test(&method.attrs) => Some(method),
        _ => None,
    }
}

/// Whether an item exists in tests only.
pub(crate) fn is_test(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("test")
            || (attribute.path().is_ident("cfg")
                && attribute.parse_args::<syn::Path>().is_ok_and(|path| path.is_ident("test")))
    })
}

pub(crate) fn attributes(item: &syn::Item) -> &[syn::Attribute] {
    match item {
        syn::Item::Const(item) => &item.attrs,
        syn::Item::Enum(item) => &item.attrs,
        syn::Item::Fn(item) => &item.attrs,
        syn::Item::Impl(item) => &item.attrs,
        syn::Item::Macro(item) => &item.attrs,
        syn::Item::Mod(item) => &item.attrs,
        syn::Item::Static(item) => &item.attrs,
        syn::Item::Struct(item) => &item.attrs,
        syn::Item::Trait(item) => &item.attrs,
        syn::Item::Type(item) => &item.attrs,
        syn::Item::Use(item) => &item.attrs,
        _ => &[],
    }
}

pub(super) fn last_name(of: &syn::Type) -> Option<String> {
    match of {
        syn::Type::Path(path) => path.path.segments.last().map(|last| last.ident.to_string()),
        syn::Type::Reference(inner) => last_name(&inner.elem),
        _ => None,
    }
}

/// Types that stand for what they point to.
const POINTERS: &[&str] = &["Arc", "Box", "Rc", "MutexGuard", "Ref", "RefMut", "Cow"];

/// The type as written; `own` is what `Self` stands for. The name of a type from outside the folder
/// fits no type of the folder.
pub(super) fn ty(of: &syn::Type, own: Option<&str>, foreign: &HashSet<String>) -> Option<Ty> {
    match of {
        syn::Type::Reference(inner) => ty(&inner.elem, own, foreign),
        syn::Type::Paren(inner) => ty(&inner.elem, own, foreign),
        syn::Type::Tuple(tuple) => {
            let args = tuple.elems.iter().map(|elem| {
                let unknown = || Ty { name: "?".to_owned(), args: vec![] };
                ty(elem, own, foreign).unwrap_or_else(unknown)
            });
            Some(Ty { name: "(".to_owned(), args: args.collect() })
        }
        syn::Type::Path(path) => {
            let last = path.path.segments.last()?;
            let mut args = Vec::new();
            if let syn::PathArguments::AngleBracketed(all) = &last.arguments {
                for arg in &all.args {
                    if let syn::GenericArgument::Type(arg) = arg {
                        let unknown = || Ty { name: "?".to_owned(), args: vec![] };
                        args.push(ty(arg, own, foreign).unwrap_or_else(unknown));
                    }
                }
            }
            let name = last.ident.to_string();
            if POINTERS.contains(&name.as_str()) && !args.is_empty() {
                return Some(args.swap_remove(0));
            }
            let name = match name.as_str() {
                "Self" => own?.to_owned(),
                _ if foreign.contains(&name) && !WRAPPERS.contains(&name.as_str()) => {
                    format!("::{name}")
                }
                _ => name,
            };
            Some(Ty { name, args })
        }
        _ => None,
    }
}

pub(super) const WRAPPERS: &[&str] = &["Option", "Result"];

/// Counts the definitions of each function name in a file, those of tests left out.
pub(crate) fn count_functions(syntax: &syn::File, into: &mut HashMap<String, usize>) {
    struct Counter<'a>(&'a mut HashMap<String, usize>);
    impl<'ast> Visit<'ast> for Counter<'_> {
        fn visit_item(&mut self, item: &'ast syn::Item) {
            if !is_test(attributes(item)) {
                visit::visit_item(self, item);
            }
        }
        fn visit_signature(&mut self, signature: &'ast syn::Signature) {
            *self.0.entry(signature.ident.to_string()).or_default() += 1;
            visit::visit_signature(self, signature);
        }
    }
    Counter(into).visit_file(syntax);
}
