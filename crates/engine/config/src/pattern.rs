//! Patterns of transforms and search rules: what of an alias matches, and what becomes of it.
//!
//! In: an alias as `user@host`, without scheme and parameters. Out: whether it matches, and the
//! alias after the rule. Letters match in either case. A regular expression must match the whole
//! alias; `%localdomains%` in it stands for the domains that are served, and a first `(?!…)` for
//! what the alias must not begin with, as administrators of such gateways write them. Other
//! look-around and back references in the pattern are not known: they would make time unbounded.
//!
//! Bounds: [`PATTERN_BYTES_MAX`], [`ALIAS_BYTES_MAX`], [`COMPILED_BYTES_MAX`]; time is linear in
//! the alias.

use std::fmt;
use std::ops::Range;

use regex::{Captures, Regex, RegexBuilder};

/// The longest pattern, replace string or added text, in bytes.
pub const PATTERN_BYTES_MAX: usize = 512;

/// The longest alias that is looked at, and the longest that a rule may make, in bytes.
pub const ALIAS_BYTES_MAX: usize = 1024;

/// The memory that one compiled expression may take, in bytes.
pub const COMPILED_BYTES_MAX: usize = 512 * 1024;

/// How deep an expression may nest.
const NEST_MAX: u32 = 32;

/// How a pattern is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PatternKind {
    /// The alias is the pattern.
    Exact,
    /// It begins with it.
    Prefix,
    /// It ends with it.
    Suffix,
    /// It is matched by the expression, as a whole.
    Regex,
}

impl PatternKind {
    /// As the configuration writes it.
    pub fn word(self) -> &'static str {
        match self {
            PatternKind::Exact => "exact",
            PatternKind::Prefix => "prefix",
            PatternKind::Suffix => "suffix",
            PatternKind::Regex => "regex",
        }
    }
}

/// Why a pattern cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// Nothing there.
    #[error("it is empty")]
    Empty,
    /// More than [`PATTERN_BYTES_MAX`].
    #[error("it is longer than 512 bytes")]
    TooLong,
    /// The expression cannot be read.
    #[error("it is no regular expression: {0}")]
    Syntax(String),
    /// The expression takes more than [`COMPILED_BYTES_MAX`].
    #[error("the expression is too large when compiled")]
    TooLarge,
    /// `%localdomains%` where no domain is known.
    #[error("%localdomains% stands for the served domains, and there is none here")]
    NoDomains,
}

/// What becomes of the part that matched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Behavior {
    /// The alias stays as it is.
    Leave,
    /// The prefix or suffix is taken off.
    Strip,
    /// What matched becomes this; with an expression `\1` to `\9` are its groups, `\0` all of it.
    Replace(String),
    /// This is put before the alias.
    AddPrefix(String),
    /// This is put after the alias.
    AddSuffix(String),
}

#[derive(Clone, Debug)]
enum Compiled {
    Text,
    Expression {
        /// What the alias must not begin with.
        not: Option<Regex>,
        whole: Regex,
    },
}

/// A pattern, compiled once.
#[derive(Clone)]
pub struct Pattern {
    kind: PatternKind,
    text: String,
    compiled: Compiled,
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:?}", self.kind.word(), self.text)
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.kind == other.kind && self.text == other.text
    }
}

impl Eq for Pattern {}

impl Pattern {
    /// Compiles a pattern. `domains` are what `%localdomains%` stands for.
    ///
    /// # Errors
    /// [`PatternError`].
    pub fn new(kind: PatternKind, text: &str, domains: &[&str]) -> Result<Self, PatternError> {
        if text.is_empty() {
            return Err(PatternError::Empty);
        }
        if text.len() > PATTERN_BYTES_MAX {
            return Err(PatternError::TooLong);
        }
        let compiled = match kind {
            PatternKind::Regex => expression(text, domains)?,
            _ => Compiled::Text,
        };
        Ok(Pattern {
            kind,
            text: text.to_owned(),
            compiled,
        })
    }

    /// How it is compared.
    pub fn kind(&self) -> PatternKind {
        self.kind
    }

    /// As it was written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether an alias matches.
    pub fn matches(&self, alias: &str) -> bool {
        if alias.len() > ALIAS_BYTES_MAX {
            return false;
        }
        match &self.compiled {
            Compiled::Text => self.place(alias).is_some(),
            Compiled::Expression { not, whole } => {
                !not.as_ref().is_some_and(|not| not.is_match(alias)) && whole.is_match(alias)
            }
        }
    }

    /// The alias after the rule; `None` if it does not match, or would be too long.
    pub fn apply(&self, alias: &str, behavior: &Behavior) -> Option<String> {
        if !self.matches(alias) {
            return None;
        }
        let out = match behavior {
            Behavior::Leave => alias.to_owned(),
            Behavior::AddPrefix(text) => [text, alias].concat(),
            Behavior::AddSuffix(text) => [alias, text].concat(),
            Behavior::Strip => self.put(alias, "")?,
            Behavior::Replace(text) => match &self.compiled {
                Compiled::Text => self.put(alias, text)?,
                Compiled::Expression { whole, .. } => fill(text, &whole.captures(alias)?),
            },
        };
        (out.len() <= ALIAS_BYTES_MAX).then_some(out)
    }

    /// Where plain text stands in the alias.
    fn place(&self, alias: &str) -> Option<Range<usize>> {
        let (all, part) = (alias.len(), self.text.len());
        let range = match self.kind {
            PatternKind::Exact => (all == part).then_some(0..all)?,
            PatternKind::Suffix => all.checked_sub(part)?..all,
            PatternKind::Prefix | PatternKind::Regex => 0..part,
        };
        let found = alias.get(range.clone())?;
        found.eq_ignore_ascii_case(&self.text).then_some(range)
    }

    /// The alias with other text in the place of what matched.
    fn put(&self, alias: &str, text: &str) -> Option<String> {
        let place = match self.compiled {
            Compiled::Text => self.place(alias)?,
            Compiled::Expression { .. } => 0..alias.len(),
        };
        let (before, after) = (alias.get(..place.start)?, alias.get(place.end..)?);
        Some([before, text, after].concat())
    }
}

/// A replace string with the groups that were found. A group that took no part is empty.
fn fill(text: &str, groups: &Captures<'_>) -> String {
    let mut out = String::new();
    let mut rest = text.chars();
    while let Some(c) = rest.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        match rest.next() {
            Some(digit) if digit.is_ascii_digit() => {
                let number = digit.to_digit(10).unwrap_or_default() as usize;
                out.push_str(groups.get(number).map_or("", |g| g.as_str()));
            }
            Some(other) => out.push(other),
            None => out.push('\\'),
        }
    }
    out
}

/// The highest group that a replace string names.
pub(crate) fn group_named(text: &str) -> usize {
    let mut highest = 0;
    let mut rest = text.chars();
    while let Some(c) = rest.next() {
        if c == '\\'
            && let Some(digit) = rest.next().and_then(|c| c.to_digit(10))
        {
            highest = highest.max(digit as usize);
        }
    }
    highest
}

impl Pattern {
    /// How many groups the expression has.
    pub(crate) fn groups(&self) -> usize {
        match &self.compiled {
            Compiled::Text => 0,
            Compiled::Expression { whole, .. } => whole.captures_len().saturating_sub(1),
        }
    }
}

fn expression(text: &str, domains: &[&str]) -> Result<Compiled, PatternError> {
    const DOMAINS: &str = "%localdomains%";
    let mut text = text.to_owned();
    if text.contains(DOMAINS) {
        if domains.is_empty() {
            return Err(PatternError::NoDomains);
        }
        let names: Vec<String> = domains.iter().map(|d| regex::escape(d)).collect();
        text = text.replace(DOMAINS, &format!("(?:{})", names.join("|")));
    }
    let (not, rest) = match text.strip_prefix("(?!") {
        None => (None, text.as_str()),
        Some(after) => {
            let end = closing(after)
                .ok_or_else(|| PatternError::Syntax("a parenthesis is not closed".into()))?;
            let (inner, rest) = after.split_at_checked(end).unwrap_or((after, ""));
            (Some(inner), rest.strip_prefix(')').unwrap_or(rest))
        }
    };
    let not = not.map(|inner| anchored(inner, "")).transpose()?;
    let whole = anchored(if rest.is_empty() { ".*" } else { rest }, r"\z")?;
    Ok(Compiled::Expression { not, whole })
}

/// Where the parenthesis that stands open is closed.
fn closing(text: &str) -> Option<usize> {
    let (mut depth, mut class, mut escaped) = (0_usize, false, false);
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            ']' if class => class = false,
            _ if class => {}
            '[' => class = true,
            '(' => depth += 1,
            ')' if depth == 0 => return Some(at),
            ')' => depth -= 1,
            _ => {}
        }
    }
    None
}

fn anchored(text: &str, end: &str) -> Result<Regex, PatternError> {
    // Alone first: a stray parenthesis must not pair with one of ours.
    compile(text)?;
    compile(&format!(r"\A(?:{text}){end}"))
}

fn compile(text: &str) -> Result<Regex, PatternError> {
    RegexBuilder::new(text)
        .case_insensitive(true)
        .size_limit(COMPILED_BYTES_MAX)
        .dfa_size_limit(COMPILED_BYTES_MAX)
        .nest_limit(NEST_MAX)
        .build()
        .map_err(|e| match e {
            regex::Error::CompiledTooBig(_) => PatternError::TooLarge,
            other => {
                let text = other.to_string();
                let last = text.lines().last().unwrap_or_default();
                PatternError::Syntax(last.trim_start_matches("error: ").to_owned())
            }
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(kind: PatternKind, text: &str) -> Pattern {
        Pattern::new(kind, text, &["example.com", "corp.example.com"]).unwrap()
    }

    #[test]
    fn each_kind_matches_and_changes_its_part_of_the_alias() {
        use Behavior::{AddPrefix, AddSuffix, Leave, Replace, Strip};
        use PatternKind::{Exact, Prefix, Regex, Suffix};
        let new = |text: &str| Replace(text.to_owned());
        let table = [
            (
                Exact,
                "1002@example.com",
                Leave,
                "1002@EXAMPLE.com",
                Some("1002@EXAMPLE.com"),
            ),
            (Exact, "1002@example.com", Leave, "11002@example.com", None),
            (Exact, "alice", new("2001@pbx"), "ALICE", Some("2001@pbx")),
            (Prefix, "9", Strip, "9123@a.b", Some("123@a.b")),
            (Prefix, "9", new("+49"), "9123@a.b", Some("+49123@a.b")),
            (Prefix, "9", Strip, "8123@a.b", None),
            (Suffix, "@a.b", Strip, "123@A.B", Some("123")),
            (Suffix, "@a.b", new("@c.d"), "123@a.b", Some("123@c.d")),
            (
                Suffix,
                "@a.b",
                AddPrefix("0".into()),
                "1@a.b",
                Some("01@a.b"),
            ),
            (Prefix, "1", AddSuffix("@x".into()), "1", Some("1@x")),
            (
                Regex,
                r"(\d{3})(.*)@example\.com",
                new(r"\2\1@pbx"),
                "123ab@example.com",
                Some("ab123@pbx"),
            ),
            (Regex, r"\d{3}", Leave, "1234", None),
            (Regex, "1|2", Leave, "12", None),
            (Regex, "(a)|b", new(r"x\1\9\\"), "b", Some(r"x\")),
            (Regex, "Alice@.*", Leave, "aLICE@x", Some("aLICE@x")),
        ];
        for (kind, text, behavior, alias, want) in table {
            let found = pattern(kind, text).apply(alias, &behavior);
            assert_eq!(found.as_deref(), want, "{kind:?} {text} {alias}");
        }
    }

    #[test]
    fn an_expression_knows_local_domains_and_what_must_not_come_first() {
        let foreign = pattern(PatternKind::Regex, r"(?!.*@%localdomains%.*$).*");
        assert!(foreign.matches("bob@other.example"));
        assert!(!foreign.matches("bob@example.com"));
        assert!(!foreign.matches("bob@CORP.example.com"));
        let bare = pattern(PatternKind::Regex, r"(?!9[)]|\()");
        assert!(bare.matches("1") && !bare.matches("9)") && !bare.matches("("));
        let none = Pattern::new(PatternKind::Regex, "%localdomains%", &[]);
        assert_eq!(none, Err(PatternError::NoDomains));
    }

    #[test]
    fn what_cannot_be_bounded_or_read_is_refused() {
        let new = |text: &str| Pattern::new(PatternKind::Regex, text, &[]).unwrap_err();
        assert_eq!(new(""), PatternError::Empty);
        assert_eq!(new(&"a".repeat(513)), PatternError::TooLong);
        assert_eq!(new(r"(\w{1000}){1000}"), PatternError::TooLarge);
        for text in [
            "(",
            ")(",
            "a)|(b",
            r"(a)\1",
            "(?=a)b",
            "a(?!b)",
            "(?!a",
            &"(".repeat(99),
        ] {
            assert!(matches!(new(text), PatternError::Syntax(_)), "{text}");
        }
    }

    #[test]
    fn an_alias_stays_bounded_whatever_a_rule_makes_of_it() {
        let all = pattern(PatternKind::Regex, "(.*)");
        let long = "a".repeat(ALIAS_BYTES_MAX);
        assert_eq!(all.apply(&long, &Behavior::Leave), Some(long.clone()));
        assert_eq!(all.apply(&long, &Behavior::Replace(r"\1\1".into())), None);
        assert!(!all.matches(&format!("{long}a")));
        // A prefix that would end within a character.
        assert!(!pattern(PatternKind::Prefix, "é").matches("\u{20ac}"));
    }
}
