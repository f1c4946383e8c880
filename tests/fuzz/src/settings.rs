//! The configuration file.

use std::path::Path;

use config::load;

/// What files are made of.
pub(crate) const WORDS: &[&str] = &[
    "\n",
    "role = \"edge\"\n",
    "role = \"core\"\n",
    "[service.sip]\n",
    "[[unified_cm]]\n",
    "[traversal.zone]\n",
    "listen = \"0.0.0.0:5061\"\n",
    "ports = [36002, 59999]\n",
    "name = \"a_b\"\n",
    " = ",
    "\"\"\"",
    "[[",
    "]]",
    "[certificate]\n",
    "password = \"x\"\n",
    "= 1e999\n",
    "= 1979-05-27T07:32:00Z\n",
    "\u{feff}",
    "é",
];

/// A file is loaded, or there is a finding with a line of the file, a cause and a fix.
pub(crate) fn file(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    match load(text, Path::new("causeway.toml")) {
        Ok(checked) => drop(format!("{:?}", checked.config)),
        Err(findings) => {
            assert!(!findings.is_empty(), "refused without a finding");
            for finding in findings {
                let lines = text.lines().count().max(1) + 1;
                assert!(finding.line <= lines, "line {} of {lines}", finding.line);
                assert!(
                    !finding.cause.is_empty() && !finding.fix.is_empty(),
                    "{finding}"
                );
            }
        }
    }
}
