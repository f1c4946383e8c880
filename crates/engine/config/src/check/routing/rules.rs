//! Transforms and search rules.

use std::collections::BTreeSet;

use super::Names;
use crate::check::Reader;
use crate::file::{File, Number, SearchRule as Written, Transform as WrittenTransform};
use crate::pattern::{Behavior, PATTERN_BYTES_MAX, Pattern, PatternKind, group_named};
use crate::routing::{DEFAULT_ZONE, GENERATED_PREFIXES, Mode, SearchRule, Source, Transform};

/// Transforms of one file.
const TRANSFORMS_MAX: usize = 100;

/// Search rules of one file.
const RULES_MAX: usize = 2_000;

const TRANSFORMS: &str = "transforms";
const RULES: &str = "search_rules";

pub(super) fn transforms(r: &mut Reader<'_>, file: &File, domains: &[&str]) -> Vec<Transform> {
    if file.transforms.len() > TRANSFORMS_MAX {
        let fix = "keep at most 100";
        r.error(
            TRANSFORMS,
            TRANSFORMS_MAX,
            "name",
            "there are more than 100",
            fix,
        );
    }
    let mut names = BTreeSet::new();
    let mut out = Vec::new();
    for (i, t) in file.transforms.iter().enumerate().take(TRANSFORMS_MAX) {
        let name = name(r, TRANSFORMS, i, &t.name, &mut names);
        if let (Some(name), Some((priority, pattern, behavior))) =
            (name, transform(r, i, t, domains))
        {
            out.push(Transform {
                name,
                priority,
                pattern,
                behavior,
                enabled: t.enabled.unwrap_or(true),
            });
        }
    }
    out
}

fn transform(
    r: &mut Reader<'_>,
    i: usize,
    t: &WrittenTransform,
    domains: &[&str],
) -> Option<(u16, Pattern, Behavior)> {
    let priority = priority(r, TRANSFORMS, i, t.priority, 1);
    let kind = kind(r, TRANSFORMS, i, t.pattern_type.as_deref())?;
    let pattern = pattern(r, TRANSFORMS, i, kind, &t.pattern, domains)?;
    let replace = t.replace.as_deref();
    let behavior = match t.behavior.as_deref() {
        Some("add_prefix") => Behavior::AddPrefix(added(r, i, replace)?),
        Some("add_suffix") => Behavior::AddSuffix(added(r, i, replace)?),
        None | Some("leave") => {
            let fix = "write \"strip\", \"replace\", \"add_prefix\" or \"add_suffix\"";
            r.error(
                TRANSFORMS,
                i,
                "behavior",
                "the transform changes nothing",
                fix,
            );
            return None;
        }
        word => behavior(r, TRANSFORMS, i, &pattern, word, replace)?,
    };
    Some((priority?, pattern, behavior))
}

/// What is put before or after.
fn added(r: &mut Reader<'_>, i: usize, text: Option<&str>) -> Option<String> {
    let text = text.unwrap_or_default();
    if text.is_empty() {
        r.error(
            TRANSFORMS,
            i,
            "replace",
            "nothing is added",
            "write the text to add",
        );
        return None;
    }
    written(r, TRANSFORMS, i, text)
}

pub(super) fn rules(
    r: &mut Reader<'_>,
    file: &File,
    domains: &[&str],
    names: &Names,
) -> Vec<SearchRule> {
    if file.search_rules.len() > RULES_MAX {
        r.error(
            RULES,
            RULES_MAX,
            "name",
            "there are more than 2000",
            "keep at most 2000",
        );
    }
    let mut seen = BTreeSet::new();
    let mut out = Vec::new();
    for (i, rule) in file.search_rules.iter().enumerate().take(RULES_MAX) {
        let name = name(r, RULES, i, &rule.name, &mut seen);
        let priority = priority(r, RULES, i, rule.priority, 100);
        let source = source(r, i, rule, file, names);
        let mode = mode(r, i, rule, domains);
        let stop = stop(r, i, rule.on_match.as_deref());
        let target = target(r, i, rule, file, names);
        let (Some(name), Some(priority), Some(source)) = (name, priority, source) else {
            continue;
        };
        let (Some(mode), Some(stop), Some(target)) = (mode, stop, target) else {
            continue;
        };
        out.push(SearchRule {
            name,
            priority,
            source,
            authenticated: rule.authenticated.unwrap_or(false),
            mode,
            stop,
            target,
            enabled: rule.enabled.unwrap_or(true),
            generated: false,
        });
    }
    out
}

fn name(
    r: &mut Reader<'_>,
    section: &str,
    i: usize,
    written: &str,
    seen: &mut BTreeSet<String>,
) -> Option<String> {
    let name = r.given(section, i, "name", written)?;
    if let Some(prefix) = GENERATED_PREFIXES.iter().find(|p| name.starts_with(*p)) {
        let cause = format!("names that begin with {prefix} belong to rules that discovery makes");
        let fix = "rules of discovered nodes follow from unified_cm and cannot be edited; take \
                   another name and a priority of its own (theirs is 45)";
        r.error(section, i, "name", &cause, fix);
        return None;
    }
    if !seen.insert(name.clone()) {
        r.error(
            section,
            i,
            "name",
            "the name stands twice",
            "give each one its own",
        );
    }
    Some(name)
}

fn priority(
    r: &mut Reader<'_>,
    section: &str,
    i: usize,
    written: Option<Number>,
    default: u16,
) -> Option<u16> {
    match written {
        None => Some(default),
        written => r.number(section, i, "priority", written),
    }
}

fn kind(r: &mut Reader<'_>, section: &str, i: usize, word: Option<&str>) -> Option<PatternKind> {
    let kinds = [
        PatternKind::Exact,
        PatternKind::Prefix,
        PatternKind::Suffix,
        PatternKind::Regex,
    ];
    let word = word.unwrap_or("prefix");
    let found = kinds.into_iter().find(|k| k.word() == word);
    if found.is_none() {
        let fix = "write \"exact\", \"prefix\", \"suffix\" or \"regex\"";
        r.error(section, i, "pattern_type", "it is not known", fix);
    }
    found
}

fn pattern(
    r: &mut Reader<'_>,
    section: &str,
    i: usize,
    kind: PatternKind,
    text: &str,
    domains: &[&str],
) -> Option<Pattern> {
    let fix = match kind {
        PatternKind::Regex => {
            "write an expression that matches the whole alias, user@domain; look-around is known \
             as a first (?!…) alone"
        }
        _ => "write the text to compare with the alias, user@domain",
    };
    let schemes = ["sip:", "sips:", "tel:"];
    let begins = matches!(kind, PatternKind::Exact | PatternKind::Prefix);
    if begins && schemes.iter().any(|s| text.starts_with(s)) {
        let cause = "it begins with a scheme, which no alias has: it never matches";
        r.error(
            section,
            i,
            "pattern",
            cause,
            "write the alias alone, as 33 or 33@example.com",
        );
        return None;
    }
    let made = Pattern::new(kind, text, domains);
    made.map_err(|e| r.error(section, i, "pattern", &e.to_string(), fix))
        .ok()
}

/// `leave`, `strip` or `replace`.
fn behavior(
    r: &mut Reader<'_>,
    section: &str,
    i: usize,
    pattern: &Pattern,
    word: Option<&str>,
    replace: Option<&str>,
) -> Option<Behavior> {
    let word = word.unwrap_or("leave");
    if word != "replace" && replace.is_some() {
        let fix = "write behavior = \"replace\", or remove the line";
        r.error(section, i, "replace", "it is not used", fix);
    }
    match word {
        "leave" => Some(Behavior::Leave),
        "strip" if matches!(pattern.kind(), PatternKind::Prefix | PatternKind::Suffix) => {
            Some(Behavior::Strip)
        }
        "strip" => {
            let fix = "use a prefix or suffix, or behavior = \"replace\"";
            r.error(
                section,
                i,
                "behavior",
                "nothing of the alias would be left",
                fix,
            );
            None
        }
        "replace" => {
            let Some(replace) = replace else {
                let fix = "write the new text; replace = \"\" takes off what matched";
                r.error(section, i, "replace", "it is missing", fix);
                return None;
            };
            let text = written(r, section, i, replace)?;
            let (named, there) = (group_named(&text), pattern.groups());
            if pattern.kind() == PatternKind::Regex && named > there {
                let cause = format!("it names group {named}, and the pattern has {there}");
                let fix = "put what is to be kept in parentheses, counted from 1";
                r.error(section, i, "replace", &cause, fix);
                return None;
            }
            Some(Behavior::Replace(text))
        }
        _ => {
            let fix = "write \"leave\", \"strip\" or \"replace\"";
            r.error(section, i, "behavior", "it is not known", fix);
            None
        }
    }
}

/// Text that becomes part of an address.
fn written(r: &mut Reader<'_>, section: &str, i: usize, text: &str) -> Option<String> {
    let cause = if text.len() > PATTERN_BYTES_MAX {
        "it is longer than 512 bytes"
    } else if text
        .chars()
        .any(|c| !c.is_ascii_graphic() || "<>\"".contains(c))
    {
        "it has characters that no address may have"
    } else {
        return Some(text.to_owned());
    };
    let fix = "write what stands in an address: user@domain, or a part of it";
    r.error(section, i, "replace", cause, fix);
    None
}

fn source(
    r: &mut Reader<'_>,
    i: usize,
    rule: &Written,
    file: &File,
    names: &Names,
) -> Option<Source> {
    let word = rule.source.as_deref().unwrap_or("all_zones");
    if word != "named" && rule.source_name.is_some() {
        let fix = "write source = \"named\", or remove the line";
        r.error(RULES, i, "source_name", "it is not used", fix);
    }
    match word {
        "any" => Some(Source::Any),
        "all_zones" => Some(Source::AllZones),
        "local_zone" => Some(Source::LocalZone),
        "named" => {
            let name = rule.source_name.as_deref().unwrap_or_default();
            let name = r.given(RULES, i, "source_name", name)?;
            if name == DEFAULT_ZONE {
                return Some(Source::Named(name));
            }
            known(r, i, "source_name", &name, file, names)?;
            Some(Source::Named(name))
        }
        _ => {
            let fix = "write \"any\", \"all_zones\", \"local_zone\" or \"named\"";
            r.error(RULES, i, "source", "it is not known", fix);
            None
        }
    }
}

fn mode(r: &mut Reader<'_>, i: usize, rule: &Written, domains: &[&str]) -> Option<Mode> {
    let word = rule.mode.as_deref();
    let word = word.unwrap_or(if rule.pattern.is_some() {
        "pattern"
    } else {
        ""
    });
    let mode = match word {
        "pattern" => {
            let kind = kind(r, RULES, i, rule.pattern_type.as_deref())?;
            let text = rule.pattern.as_deref().unwrap_or_default();
            let pattern = pattern(r, RULES, i, kind, text, domains)?;
            let (word, replace) = (rule.behavior.as_deref(), rule.replace.as_deref());
            let behavior = behavior(r, RULES, i, &pattern, word, replace)?;
            return Some(Mode::Pattern(pattern, behavior));
        }
        "any_alias" => Mode::AnyAlias,
        "any_ip_address" => Mode::AnyIpAddress,
        "" => {
            let fix = "write mode = \"any_alias\", \"any_ip_address\", or a pattern";
            r.error(
                RULES,
                i,
                "mode",
                "which destinations the rule is for is not said",
                fix,
            );
            return None;
        }
        _ => {
            let fix = "write \"pattern\", \"any_alias\" or \"any_ip_address\"";
            r.error(RULES, i, "mode", "it is not known", fix);
            return None;
        }
    };
    for (key, there) in [
        ("pattern", rule.pattern.is_some()),
        ("pattern_type", rule.pattern_type.is_some()),
        ("behavior", rule.behavior.is_some()),
        ("replace", rule.replace.is_some()),
    ] {
        if there {
            let fix = "write mode = \"pattern\", or remove the line";
            r.error(RULES, i, key, "it is not used", fix);
        }
    }
    Some(mode)
}

fn stop(r: &mut Reader<'_>, i: usize, word: Option<&str>) -> Option<bool> {
    match word {
        None | Some("continue") => Some(false),
        Some("stop") => Some(true),
        Some(_) => {
            let fix = "write \"continue\" or \"stop\"";
            r.error(RULES, i, "on_match", "it is neither continue nor stop", fix);
            None
        }
    }
}

fn target(
    r: &mut Reader<'_>,
    i: usize,
    rule: &Written,
    file: &File,
    names: &Names,
) -> Option<String> {
    let name = r.given(RULES, i, "target", &rule.target)?;
    known(r, i, "target", &name, file, names).map(|_| name)
}

/// What a name belongs to, or an error.
fn known(
    r: &mut Reader<'_>,
    i: usize,
    key: &str,
    name: &str,
    file: &File,
    names: &Names,
) -> Option<&'static str> {
    if let Some(what) = names.get(name) {
        return Some(what);
    }
    // Which nodes there are is known once the publisher has told.
    let generated = |p: &str| name.strip_prefix(p).is_some_and(|node| !node.is_empty());
    if GENERATED_PREFIXES.iter().any(|p| generated(p)) && !file.unified_cm.is_empty() {
        return Some("unified_cm");
    }
    let fix = format!("name a zone; {}", names.list());
    r.error(RULES, i, key, &format!("there is no zone {name}"), &fix);
    None
}
