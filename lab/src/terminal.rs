//! What the lab says: lines on standard output and standard error.
//!
//! Whoever reads them may leave early, as `| head` does. What is said after that goes nowhere, and
//! the work goes on to its own end and status.

use std::io::Write;

/// A line on standard output.
pub fn line(text: &str) {
    write(std::io::stdout().lock(), text, "\n");
}

/// Text on standard output as it is, with the line ends it has.
pub fn text(text: &str) {
    write(std::io::stdout().lock(), text, "");
}

/// A line on standard error.
pub fn remark(text: &str) {
    write(std::io::stderr().lock(), text, "\n");
}

fn write(mut to: impl Write, text: &str, end: &str) {
    // A reader who left is no fault of the lab, and there is nobody else to tell.
    let _ = to
        .write_all(format!("{text}{end}").as_bytes())
        .and_then(|()| to.flush());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_to_a_reader_who_left_goes_nowhere() {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        write(writer, "nobody reads this", "\n");
    }

    #[test]
    fn line_ends_once() {
        let mut out = Vec::new();
        write(&mut out, "first\nsecond", "\n");
        assert_eq!(out, b"first\nsecond\n");
    }
}
