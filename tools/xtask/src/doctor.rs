//! What this machine has of what the checks need.

use std::path::Path;
use std::process::{Command, Stdio};

use crate::interop;
use crate::quick::has_cargo;

/// Prints a line for each thing. True if nothing is missing that `cargo lab` needs.
pub(crate) fn run(root: &Path) -> anyhow::Result<bool> {
    let compiler = ["cc", "gcc", "clang"]
        .into_iter()
        .any(|name| answers(name, "--version"));
    say("a C compiler", compiler, "apt-get install gcc libc6-dev");
    for (subcommand, fix) in [
        ("fmt", "rustup component add rustfmt"),
        ("clippy", "rustup component add clippy"),
        ("nextest", "not needed; cargo test serves"),
        (
            "fuzz",
            "not needed; cargo install cargo-fuzz, and a nightly tool chain",
        ),
    ] {
        say(
            &format!("cargo {subcommand}"),
            has_cargo(root, subcommand),
            fix,
        );
    }
    for (name, folder) in interop::scenarios(root)? {
        let missing = interop::missing(std::iter::once(folder.as_path()))?;
        let list: Vec<&str> = missing.iter().map(String::as_str).collect();
        let fix = format!("apt-get install --no-install-recommends {}", list.join(" "));
        say(&format!("scenario {name}"), missing.is_empty(), &fix);
    }
    say(
        "namespaces",
        namespaces(),
        "the scenarios need root, or user namespaces",
    );
    Ok(compiler)
}

fn say(what: &str, good: bool, fix: &str) {
    if good {
        println!("ok       {what}");
    } else {
        println!("missing  {what}: {fix}");
    }
}

fn answers(program: &str, argument: &str) -> bool {
    quiet(Command::new(program).arg(argument))
}

fn namespaces() -> bool {
    let flags = ["--net", "--mount", "--pid", "--fork"];
    quiet(Command::new("unshare").args(flags).arg("true"))
        || quiet(
            Command::new("unshare")
                .args(flags)
                .args(["--user", "--map-root-user", "true"]),
        )
}

fn quiet(command: &mut Command) -> bool {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}
