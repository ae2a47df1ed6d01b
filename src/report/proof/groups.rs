//! The groups of a report: the hashtags of each, and the way out for all of them with its price.

use super::rows::{
    GroupRow, OptionRow, OtherTagRow, PriceRow, RewrittenRow, StrangersRow, WayOutRow,
};
use crate::ledger::Group;
use crate::ledger::hashtag::{Tag, TagKind};
use crate::ledger::namespace::{Library, beginning};
use crate::ledger::pattern::{pattern, shown};
use crate::ledger::price::{Market, Price, Share};
use std::collections::{BTreeMap, BTreeSet};

/// Characters of an example of a key.
const CHARS_MAX: usize = 120;
/// Up to so many different tags are the first way out; above, one prefix before all keys is easier.
const TAGS_MAX: usize = 3;

/// A hashtag of a group, priced.
struct Priced<'a> {
    tag: &'a Tag,
    price: Price,
}

/// Makes the rows of groups. The same beginning is priced once.
pub(super) struct GroupRows<'a> {
    market: &'a Market<'a>,
    beginnings: BTreeMap<String, Price>,
}

impl<'a> GroupRows<'a> {
    pub(super) fn new(market: &'a Market<'a>) -> Self {
        Self { market, beginnings: BTreeMap::new() }
    }

    pub(super) fn row(&mut self, group: &Group) -> GroupRow {
        let mut choices = self.choices(group).into_iter();
        let first = choices.next();
        let tag = first.as_ref().map(|first| first.tag);
        GroupRow {
            patterns: group.patterns.iter().map(ToString::to_string).collect(),
            count: group.count,
            crossing: group.crossing,
            verdict: match () {
                () if group.choices.is_empty() => "fits",
                () if group.choices.iter().all(|tag| tag.kind() == TagKind::Prefix) => "apart",
                () => "tag",
            },
            kind: tag.map(|tag| tag.kind().name()),
            tag: tag.map(name),
            tag_values: tag.map(|tag| tag.values),
            options: if tag.is_some_and(is_by_option) { options([group]) } else { Vec::new() },
            rewritten: tag.map_or_else(Vec::new, |tag| rewritten(group, tag)),
            key_price: first.as_ref().and_then(|first| first.price.0).map(price),
            use_price: first.as_ref().and_then(|first| first.price.1).map(price),
            other_tags: choices
                .map(|Priced { tag, price: (keys, uses) }| OtherTagRow {
                    kind: tag.kind().name(),
                    tag: name(tag),
                    tag_values: tag.values,
                    rewritten: rewritten(group, tag),
                    key_price: keys.map(price),
                    use_price: uses.map(price),
                })
                .collect(),
            accidental_tags: group.accidents.clone(),
            strangers: group
                .strangers
                .iter()
                .map(|pair| StrangersRow {
                    patterns: pair.patterns.each_ref().map(ToString::to_string),
                    keys: pair.keys.clone(),
                })
                .collect(),
        }
    }

    /// The hashtags of a group with their prices: a part behind another tag only if it concentrates
    /// fewer keys, since it is harder to write.
    fn choices<'g>(&mut self, group: &'g Group) -> Vec<Priced<'g>> {
        let mut choices: Vec<Priced<'g>> = Vec::new();
        for tag in &group.choices {
            let of = || self.market.price(&|key, pattern| group.rewrite(tag, key, pattern));
            let price = match tag.kind() {
                TagKind::Beginning if self.beginnings.contains_key(&tag.shown) => {
                    self.beginnings[&tag.shown]
                }
                TagKind::Beginning => {
                    let price = of();
                    self.beginnings.insert(tag.shown.clone(), price);
                    price
                }
                TagKind::Part | TagKind::Prefix => of(),
            };
            let is_worth_it = choices.first().is_none_or(|first| {
                tag.kind() != TagKind::Part || tag.values > 1 || is_finer(&price, &first.price)
            });
            if is_worth_it {
                choices.push(Priced { tag, price });
            }
        }
        choices
    }
}

fn is_finer(price: &Price, other: &Price) -> bool {
    let less = |a: Option<Share>, b: Option<Share>| a.zip(b).is_some_and(|(a, b)| a.slot < b.slot);
    less(price.0, other.0) || less(price.1, other.1)
}

/// What has to be done so that every group is in one slot, the easiest first; empty if nothing has to.
pub(super) fn way_out(groups: &[Group], market: &Market<'_>) -> Vec<WayOutRow> {
    let crossing: Vec<&Group> = groups.iter().filter(|group| !group.choices.is_empty()).collect();
    if crossing.is_empty() {
        return Vec::new();
    }
    let firsts: Vec<Option<&Tag>> = crossing.iter().map(|group| group.choices.first()).collect();
    let first = way(&crossing, &firsts, market);
    let is_prefix = first.kind == TagKind::Prefix.name();
    let is_beginnings = first.kind == TagKind::Beginning.name();
    let mut ways = Vec::new();
    if is_prefix || first.tags.len() > TAGS_MAX {
        ways.push(prefix(&crossing, market));
    }
    if !is_prefix {
        let has_too_many = !ways.is_empty();
        ways.push(first);
        // Beginnings are options already; what has to be written in code has an option instead.
        if !has_too_many && !is_beginnings {
            ways.push(prefix(&crossing, market));
        }
    }
    let part = |group: &&'_ Group| group.choices.iter().position(|t| t.kind() == TagKind::Part);
    let parts: Vec<Option<&Tag>> =
        crossing.iter().map(|group| Some(&group.choices[part(group)?])).collect();
    if parts.iter().zip(&firsts).any(|(part, first)| part.is_some() && part != first) {
        let parts = way(&crossing, &parts, market);
        let is_worth_it = ways.iter().all(|way| {
            let shares = |price: &Option<PriceRow>| price.as_ref().map(|price| price.one_slot);
            let less =
                |a: &Option<PriceRow>, b| shares(a).zip(shares(b)).is_some_and(|(a, b)| a < b);
            less(&parts.key_price, &way.key_price) || less(&parts.use_price, &way.use_price)
        });
        if is_worth_it {
            ways.push(parts);
        }
    }
    ways
}

/// The prefix before all keys. Options set it if all keys are those of libraries.
fn prefix(crossing: &[&Group], market: &Market<'_>) -> WayOutRow {
    let tag = Tag::of_prefix();
    let by_option = crossing.iter().all(|group| !group.libraries.is_empty());
    let optioned = if by_option { crossing } else { &[] };
    let (keys, uses) = market.price(&|key, _| tag.write(0, key));
    WayOutRow {
        kind: tag.kind().name(),
        tags: vec![name(&tag)],
        mends: crossing.len(),
        of: crossing.len(),
        options: options(optioned.iter().copied()),
        key_price: keys.map(price),
        use_price: uses.map(price),
    }
}

/// These tags for these groups, one after the other.
fn way(crossing: &[&Group], tags: &[Option<&Tag>], market: &Market<'_>) -> WayOutRow {
    let chosen = || crossing.iter().zip(tags).filter_map(|(group, tag)| Some((*group, (*tag)?)));
    let by_pattern: BTreeMap<&str, (&Group, &Tag)> = chosen()
        .flat_map(|(group, tag)| group.patterns.iter().map(move |own| (&**own, (group, tag))))
        .collect();
    let by_beginning: BTreeMap<&[u8], &Tag> =
        chosen().filter_map(|(_, tag)| Some((tag.beginning()?, tag))).collect();
    let (keys, uses) = market.price(&|key, pattern| match by_pattern.get(pattern) {
        Some((group, tag)) => group.rewrite(tag, key, pattern),
        None => by_beginning.get(beginning(key)?)?.write(0, key),
    });
    let kinds: BTreeSet<TagKind> = chosen().map(|(_, tag)| tag.kind()).collect();
    let mut names: Vec<String> = Vec::new();
    for name in chosen().map(|(_, tag)| name(tag)) {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    let by_option = chosen().filter(|(_, tag)| is_by_option(tag)).map(|(group, _)| group);
    WayOutRow {
        kind: match kinds.first() {
            Some(kind) if kinds.len() == 1 => kind.name(),
            _ => "mixed",
        },
        tags: names,
        mends: chosen().count(),
        of: crossing.len(),
        options: options(by_option),
        key_price: keys.map(price),
        use_price: uses.map(price),
    }
}

/// Whether an option may hold it.
fn is_by_option(tag: &Tag) -> bool {
    tag.kind() != TagKind::Part
}

/// The options that libraries have for the beginning of these groups' keys.
fn options<'g>(groups: impl IntoIterator<Item = &'g Group>) -> Vec<OptionRow> {
    let mut found: Vec<&'static Library> = Vec::new();
    for library in groups.into_iter().flat_map(|group| &group.libraries) {
        if !found.iter().any(|other| other.name == library.name) {
            found.push(library);
        }
    }
    let row = |of: &'static Library| OptionRow { library: of.name, option: of.option };
    found.into_iter().map(row).collect()
}

/// The tag with the variable parts of its text left out.
fn name(tag: &Tag) -> String {
    pattern(tag.shown.as_bytes())
}

fn rewritten(group: &Group, tag: &Tag) -> Vec<RewrittenRow> {
    let shown = |key: &[u8]| shown(key, CHARS_MAX);
    let examples = group.examples.iter().enumerate();
    let rows = examples.map(|(of, key)| RewrittenRow {
        pattern: group.patterns[of].to_string(),
        key: shown(key),
        new_pattern: tag.pattern(of, key),
        new_key: tag.write(of, key).map_or_else(String::new, |key| shown(&key)),
    });
    rows.collect()
}

fn price(share: Share) -> PriceRow {
    PriceRow {
        one_slot: share.slot,
        one_slot_now: share.slot_now,
        busiest_shard: share.shard,
        busiest_shard_now: share.shard_now,
    }
}
