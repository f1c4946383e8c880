//! What a rule found: where, what, and how to mend it.

use std::fmt;

/// One breach of a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Finding {
    /// The rule's name, as `tidy/line-length`.
    pub(crate) rule: &'static str,
    /// The file, relative to the root.
    pub(crate) path: String,
    /// The line, from 1; 0 for the file as a whole.
    pub(crate) line: usize,
    /// What is wrong.
    pub(crate) cause: String,
    /// What to do.
    pub(crate) fix: String,
}

impl Finding {
    /// A finding in line `line` (from 1; 0 for the whole file) of `path`.
    pub(crate) fn new(
        rule: &'static str,
        path: &str,
        line: usize,
        cause: impl Into<String>,
    ) -> Self {
        Self {
            rule,
            path: path.to_owned(),
            line,
            cause: cause.into(),
            fix: String::new(),
        }
    }

    /// The same finding, saying what to do.
    pub(crate) fn fix(mut self, fix: impl Into<String>) -> Self {
        self.fix = fix.into();
        self
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.path)?;
        if self.line > 0 {
            write!(f, ":{}", self.line)?;
        }
        write!(f, ": {} [{}]", self.cause, self.rule)?;
        if !self.fix.is_empty() {
            write!(f, "\n    fix: {}", self.fix)?;
        }
        Ok(())
    }
}

/// Prints findings. True if there are none.
pub(crate) fn report(findings: &[Finding]) -> bool {
    for finding in findings {
        println!("{finding}");
    }
    if !findings.is_empty() {
        println!("{} finding(s)", findings.len());
    }
    findings.is_empty()
}
