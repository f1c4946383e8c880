//! `docs/events.md` lists the events as the program has them.

use status::Kind;

const PAGE: &str = include_str!("../../../../docs/events.md");

#[test]
fn page_of_events_says_what_the_program_says() {
    let rows: Vec<String> = Kind::ALL
        .iter()
        .map(|kind| {
            let severity = format!("{:?}", kind.severity()).to_lowercase();
            format!(
                "| {} | {severity} | {} | {} |",
                *kind as u16,
                kind.title(),
                kind.fix()
            )
        })
        .map(|row| row.replace("|  |", "| – |"))
        .collect();
    let written: Vec<&str> = PAGE
        .lines()
        .filter(|line| line.starts_with("| ") && line.contains(char::is_numeric))
        .collect();
    assert!(
        written == rows,
        "docs/events.md must hold these rows:\n{}",
        rows.join("\n")
    );
}
