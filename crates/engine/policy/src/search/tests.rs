//! Tables of transforms and rules, and what holds for all of them.

use config::pattern::PatternKind;
use proptest::prelude::*;

use super::*;

const TRUNK: Asker<'static> = Asker {
    zone: "trunk",
    local: false,
    authenticated: false,
};

const STRANGER: Asker<'static> = Asker {
    zone: DEFAULT_ZONE,
    ..TRUNK
};

const CLIENT: Asker<'static> = Asker {
    zone: "edge1",
    local: true,
    authenticated: true,
};

fn pattern(kind: PatternKind, text: &str) -> Pattern {
    Pattern::new(kind, text, &["example.com"]).unwrap()
}

fn transform(name: &str, priority: u16, prefix: &str, new: &str) -> Transform {
    Transform {
        name: name.into(),
        priority,
        pattern: pattern(PatternKind::Prefix, prefix),
        behavior: Behavior::Replace(new.into()),
        enabled: true,
    }
}

/// A rule for anybody and any alias, named after its target.
fn rule(priority: u16, target: &str) -> SearchRule {
    SearchRule {
        name: format!("to {target}"),
        priority,
        source: Source::Any,
        authenticated: false,
        mode: Mode::AnyAlias,
        stop: false,
        target: target.into(),
        enabled: true,
        generated: false,
    }
}

fn zones(rules: Vec<SearchRule>, alias: &str, asker: &Asker<'_>) -> Vec<String> {
    let hits = Plan::new(Vec::new(), rules).search(alias, asker);
    hits.into_iter()
        .map(|h| format!("{} {}", h.zone, h.alias))
        .collect()
}

#[test]
fn rules_are_tried_by_priority_and_equal_ones_in_their_order() {
    let rules = vec![
        rule(50, "c"),
        rule(1, "a"),
        rule(50, "b"),
        rule(65_534, "d"),
    ];
    assert_eq!(zones(rules, "x", &TRUNK), ["a x", "c x", "b x", "d x"]);
}

#[test]
fn stop_leaves_out_lower_priorities_and_not_equal_ones() {
    let stop = |priority, target| SearchRule {
        stop: true,
        ..rule(priority, target)
    };
    let rules = vec![stop(10, "a"), rule(10, "b"), rule(11, "c")];
    assert_eq!(zones(rules, "x", &TRUNK), ["a x", "b x"]);
    // One that does not match has no say.
    let deaf = SearchRule {
        mode: Mode::AnyIpAddress,
        ..stop(10, "a")
    };
    assert_eq!(zones(vec![deaf, rule(11, "c")], "x", &TRUNK), ["c x"]);
}

#[test]
fn each_source_admits_its_askers() {
    let named = |name: &str| Source::Named(name.into());
    let table = [
        (Source::Any, [true, true, true]),
        (Source::AllZones, [true, true, false]),
        (Source::LocalZone, [true, false, false]),
        (named("trunk"), [false, true, false]),
        (named("edge1"), [true, false, false]),
        (named(DEFAULT_ZONE), [false, false, true]),
    ];
    for (source, want) in table {
        let rules = vec![SearchRule {
            source: source.clone(),
            ..rule(1, "a")
        }];
        let found = [CLIENT, TRUNK, STRANGER].map(|a| !zones(rules.clone(), "x", &a).is_empty());
        assert_eq!(found, want, "{source:?}");
    }
}

#[test]
fn a_rule_for_the_authenticated_passes_over_others() {
    let rules = vec![SearchRule {
        authenticated: true,
        ..rule(1, "a")
    }];
    assert!(zones(rules.clone(), "x", &TRUNK).is_empty());
    assert_eq!(zones(rules, "x", &CLIENT), ["a x"]);
}

#[test]
fn an_address_is_told_from_a_name() {
    let rules = vec![SearchRule {
        mode: Mode::AnyIpAddress,
        ..rule(1, "a")
    }];
    for (alias, want) in [
        ("bob@10.0.0.9", true),
        ("bob@10.0.0.9:5070", true),
        ("10.0.0.9", true),
        ("bob@[2001:db8::1]", true),
        ("bob@[2001:db8::1]:5060", true),
        ("2001:db8::1", true),
        ("bob@example.com", false),
        ("10.0.0@example.com", false),
        ("", false),
    ] {
        let found = !zones(rules.clone(), alias, &TRUNK).is_empty();
        assert_eq!(found, want, "{alias}");
    }
}

#[test]
fn the_first_transform_that_matches_applies_once() {
    let transforms = vec![
        transform("second", 2, "0", "never"),
        transform("first", 1, "00", "+"),
        Transform {
            enabled: false,
            ..transform("off", 1, "0", "off")
        },
        transform("after", 3, "+", "again"),
    ];
    let plan = Plan::new(transforms, vec![rule(1, "a")]);
    let found = plan.explain("0049", &TRUNK);
    assert_eq!(found.transformed, "+49");
    assert_eq!(found.hits[0].alias, "+49");
    let steps: Vec<(&str, bool, &str)> = found
        .transforms
        .iter()
        .map(|s| (s.name.as_str(), s.matched, s.why.as_str()))
        .collect();
    assert_eq!(
        steps,
        [
            ("first", true, "matched: +49"),
            ("off", false, "not tried: first had the last word"),
            ("second", false, "not tried: first had the last word"),
            ("after", false, "not tried: first had the last word"),
        ]
    );
}

#[test]
fn each_rule_changes_the_alias_for_its_own_zone() {
    let by = |target: &str, text: &str, behavior| SearchRule {
        mode: Mode::Pattern(pattern(PatternKind::Regex, text), behavior),
        ..rule(1, target)
    };
    let rules = vec![
        by(
            "a",
            r"(\d+)@example\.com",
            Behavior::Replace(r"\1@pbx".into()),
        ),
        by("b", ".*", Behavior::Leave),
        by("c", "9.*", Behavior::Leave),
    ];
    let found = zones(rules, "1002@example.com", &TRUNK);
    assert_eq!(found, ["a 1002@pbx", "b 1002@example.com"]);
}

#[test]
fn a_zone_is_not_asked_twice_nor_for_what_it_asks() {
    let rules = vec![rule(1, "trunk"), rule(2, "a"), rule(3, "a"), rule(4, "b")];
    assert_eq!(zones(rules, "x", &TRUNK), ["a x", "b x"]);
}

#[test]
fn every_rule_gets_a_verdict_with_its_reason() {
    let rules = vec![
        SearchRule {
            enabled: false,
            ..rule(1, "a")
        },
        SearchRule {
            source: Source::LocalZone,
            ..rule(2, "a")
        },
        SearchRule {
            authenticated: true,
            ..rule(3, "a")
        },
        SearchRule {
            mode: Mode::Pattern(pattern(PatternKind::Suffix, "@b"), Behavior::Strip),
            ..rule(4, "a")
        },
        rule(5, "trunk"),
        SearchRule {
            stop: true,
            ..rule(6, "a")
        },
        rule(7, "b"),
    ];
    let found = Plan::new(Vec::new(), rules).explain("x@a", &TRUNK);
    let why: Vec<&str> = found.rules.iter().map(|s| s.why.as_str()).collect();
    assert_eq!(
        why,
        [
            "it is not enabled",
            "it is for clients registered here",
            "the request is not authenticated",
            "the destination does not match",
            "the request came from its zone",
            "matched: x@a to a",
            "not tried: to a had the last word",
        ]
    );
    assert_eq!(found.rules[3].what, "suffix @b, stripped → a");
}

#[test]
fn a_search_gives_a_bounded_number_of_zones() {
    let rules = (0..100).map(|n| rule(1, &format!("zone{n}"))).collect();
    assert_eq!(zones(rules, "x", &TRUNK).len(), HITS_MAX);
}

fn kinds() -> impl Strategy<Value = PatternKind> {
    prop_oneof![
        Just(PatternKind::Exact),
        Just(PatternKind::Prefix),
        Just(PatternKind::Suffix),
        Just(PatternKind::Regex),
    ]
}

fn behaviors() -> impl Strategy<Value = Behavior> {
    prop_oneof![
        Just(Behavior::Leave),
        Just(Behavior::Strip),
        "[a-c@\\\\0-9]{0,12}".prop_map(Behavior::Replace),
        "[a-c@]{1,4}".prop_map(Behavior::AddPrefix),
        "[a-c@]{1,4}".prop_map(Behavior::AddSuffix),
    ]
}

fn patterns() -> impl Strategy<Value = Pattern> {
    let texts = prop_oneof!["[a-c@.]{1,4}", r"(\(\?!)?[a-c@.*+()|]{1,10}", r"\PC{1,6}"];
    (kinds(), texts).prop_filter_map("no pattern", |(kind, text)| {
        Pattern::new(kind, &text, &[]).ok()
    })
}

fn any_rule() -> impl Strategy<Value = SearchRule> {
    let source = prop_oneof![
        Just(Source::Any),
        Just(Source::AllZones),
        Just(Source::LocalZone),
        Just(Source::Named("trunk".into())),
    ];
    let mode = prop_oneof![
        Just(Mode::AnyAlias),
        Just(Mode::AnyIpAddress),
        (patterns(), behaviors()).prop_map(|(p, b)| Mode::Pattern(p, b)),
    ];
    let rest = (any::<[bool; 3]>(), 0..4_u8, 1..6_u16);
    (source, mode, rest).prop_map(
        |(source, mode, ([authenticated, stop, enabled], zone, at))| SearchRule {
            source,
            mode,
            authenticated,
            stop,
            enabled,
            ..rule(at, ["trunk", "a", "b", "c"][usize::from(zone)])
        },
    )
}

proptest! {
    /// Whatever the rules and the alias: each rule has one verdict, hits are bounded and wanted,
    /// never of the asker's own zone, in the order of priorities, and explaining changes nothing.
    #[test]
    fn any_search_ends_and_is_bounded(
        rules in prop::collection::vec(any_rule(), 0..40),
        changes in prop::collection::vec((patterns(), behaviors(), 1..4_u16), 0..6),
        alias in prop_oneof!["[a-c@.]{0,12}", r"\PC{0,20}", "[a-b]{1000,1100}"],
        who in 0..3_usize,
    ) {
        let asker = [CLIENT, TRUNK, STRANGER][who];
        let transforms = changes.into_iter().map(|(pattern, behavior, priority)| Transform {
            name: "t".into(), priority, pattern, behavior, enabled: true,
        });
        let plan = Plan::new(transforms.collect(), rules.clone());
        let found = plan.explain(&alias, &asker);
        prop_assert_eq!(&found.hits, &plan.search(&alias, &asker));
        prop_assert_eq!(found.rules.len(), rules.len());
        prop_assert!(found.hits.len() <= HITS_MAX);
        prop_assert_eq!(found.hits.len(), found.rules.iter().filter(|s| s.matched).count());
        prop_assert!(found.transforms.iter().filter(|s| s.matched).count() <= 1);
        let mut seen = std::collections::BTreeSet::new();
        for hit in &found.hits {
            prop_assert!(hit.zone != asker.zone);
            prop_assert!(!hit.alias.is_empty() || alias.is_empty());
            prop_assert!(hit.alias.len() <= ALIAS_BYTES_MAX);
            prop_assert!(seen.insert((hit.zone.clone(), hit.alias.clone())));
        }
        let order: Vec<u16> = found.rules.iter().map(|s| s.priority).collect();
        prop_assert!(order.is_sorted());
    }
}
