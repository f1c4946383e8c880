//! Rules for the checklist: complete, honest, and naming tests that exist.

use crate::finding::Finding;
use crate::interop::is_scenario;
use crate::tree::Tree;

const PAGE: &str = "docs/checklist.md";
/// The numbers go from F001 to this.
const LAST: usize = 355;
const STATES: [&str; 4] = ["done", "part", "later", "waived"];

/// Every number stands once, in order, with a state; what is done names a test, what is waived a
/// reason; tests, scenarios and steps of the tour that are named exist; the sums are right.
pub(crate) fn checklist(tree: &Tree) -> Vec<Finding> {
    let Some(page) = tree.get(PAGE) else {
        return Vec::new();
    };
    let mut findings = Vec::new();
    let mut find = |line: usize, cause: String| {
        findings.push(Finding::new("tidy/checklist", PAGE, line, cause));
    };
    let mut expected = 1;
    let mut sums = [0; STATES.len()];
    for (line, text) in page.lines().filter(|(_, text)| text.starts_with("| F")) {
        let cells: Vec<&str> = text.trim_matches('|').split('|').map(str::trim).collect();
        let [number, _, state, by] = cells[..] else {
            find(line, "is no row of four cells".to_owned());
            continue;
        };
        if number != format!("F{expected:03}") {
            find(line, format!("{number} stands where F{expected:03} should"));
        }
        expected += 1;
        match STATES.iter().position(|known| *known == state) {
            Some(at) => sums[at] += 1,
            None => find(line, format!("`{state}` is no state")),
        }
        let evidence: Vec<&str> = by
            .split('`')
            .skip(1)
            .step_by(2)
            .filter(|name| is_evidence(name))
            .collect();
        for name in &evidence {
            if !exists(tree, name) {
                find(line, format!("`{name}` does not exist"));
            }
        }
        if state == "done" && evidence.is_empty() {
            find(line, "done by no test".to_owned());
        }
        if state == "waived" && by.trim_matches('–').is_empty() {
            find(line, "waived without a reason".to_owned());
        }
    }
    if expected != LAST + 1 {
        find(0, format!("{} rows, not {LAST}", expected - 1));
    }
    let [done, part, later, waived] = sums;
    let sum = format!("{done} done, {part} in part, {later} later, {waived} waived.");
    if !page.text.lines().any(|line| line == sum) {
        find(0, format!("the sums are: {sum}"));
    }
    findings
}

/// Whether a name is that of a test function, a scenario or a step of the tour.
fn is_evidence(name: &str) -> bool {
    let function = name
        .chars()
        .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
        && name.matches('_').count() > 1;
    function || is_scenario(name) || name.starts_with("tour: ")
}

fn exists(tree: &Tree, name: &str) -> bool {
    if let Some(step) = name.strip_prefix("tour: ") {
        let literal = format!("\"{step}\"");
        return tree
            .files()
            .any(|file| file.path.starts_with("lab/src/") && file.text.contains(&literal));
    }
    if is_scenario(name) {
        return tree.has(&format!("tests/interop/{name}"));
    }
    let definition = format!("fn {name}(");
    tree.ending("rs")
        .any(|file| file.text.contains(&definition))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn causes(first: &str, sum: &str) -> Vec<String> {
        let mut text = format!("{sum}\n{first}\n");
        for number in 2..=LAST {
            text += &format!("| F{number:03} | x | later | – |\n");
        }
        let tree = Tree::of(&[
            (PAGE, &text),
            ("a.rs", "fn pairs_are_even_odd() {}\n"),
            ("lab/src/tour.rs", "step(\"her voicemail\")\n"),
            ("tests/interop/01-a/run", ""),
        ]);
        checklist(&tree)
            .into_iter()
            .map(|finding| finding.cause)
            .collect()
    }

    #[test]
    fn row_with_evidence_that_exists_is_good() {
        let sum = "1 done, 0 in part, 354 later, 0 waived.";
        for evidence in [
            "`pairs_are_even_odd`",
            "`tour: her voicemail`",
            "`a.b`, `01-a`",
        ] {
            let row = format!("| F001 | x | done | {evidence} |");
            assert_eq!(causes(&row, sum), Vec::<String>::new());
        }
    }

    #[test]
    fn evidence_that_is_missing_is_found() {
        let sum = "1 done, 0 in part, 354 later, 0 waived.";
        for evidence in ["`no_such_test`", "`tour: no such step`", "`09-none`"] {
            let found = causes(&format!("| F001 | x | done | {evidence} |"), sum);
            assert!(found[0].ends_with("does not exist"), "{found:?}");
        }
        assert_eq!(causes("| F001 | x | done | – |", sum), ["done by no test"]);
    }

    #[test]
    fn wrong_number_state_and_sum_are_found() {
        let sum = "0 done, 0 in part, 355 later, 0 waived.";
        assert_eq!(causes("| F002 | x | later | – |", sum).len(), 1);
        assert_eq!(causes("| F001 | x | perhaps | – |", sum).len(), 2);
        assert_eq!(causes("| F001 | x | waived | – |", sum).len(), 2);
        assert_eq!(
            causes("", "0 done, 0 in part, 354 later, 0 waived.").len(),
            355
        );
    }
}
