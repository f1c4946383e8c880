//! A node that keeps its settings in its store, as an administrator meets it: from an empty folder
//! to a running core, changed while it runs, taken back, killed and started again.

#![allow(clippy::unwrap_used)]

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// A folder with a certificate, and a core's configuration in it.
fn folder(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("settings-{name}"));
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).unwrap();
    let key = rcgen::KeyPair::generate().unwrap();
    let made = rcgen::CertificateParams::new(vec!["core1.example.test".to_owned()]).unwrap();
    let made = made.self_signed(&key).unwrap();
    for (name, text) in [
        ("c.pem", made.pem()),
        ("k.key", key.serialize_pem()),
        ("t.pem", made.pem()),
        ("passphrase", "a long passphrase\n".to_owned()),
    ] {
        std::fs::write(folder.join(name), text).unwrap();
    }
    std::fs::write(folder.join("core.toml"), core()).unwrap();
    folder
}

/// A core that nobody answers, on a port that is free.
fn core() -> String {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = free.local_addr().unwrap().port();
    format!(
        r#"
role = "core"
name = "core1"
domain = "example.test"
[dns]
servers = ["127.0.0.1:9"]
[certificate]
chain = "c.pem"
key = "k.key"
trusted = "t.pem"
[service.sip]
listen = ["127.0.0.1:{port}"]
[service.media]
listen = "127.0.0.1"
[[domains]]
name = "example.test"
[[traversal.peer]]
name = "edge1"
dial = "127.0.0.1"
verify_name = "edge1.example.test"
user = "u"
password = "correct horse battery"
sip_port = 1
ssh_port = 1
xmpp_port = 1
"#
    )
}

/// The node, until it is dropped: then it is killed.
struct Node {
    child: Child,
    said: std::io::Lines<BufReader<std::process::ChildStderr>>,
}

impl Node {
    fn run(folder: &Path, more: &[&str]) -> Node {
        let mut child = Command::new(env!("CARGO_BIN_EXE_causeway"))
            .args(["run", "--state"])
            .arg(folder.join("state"))
            .args(more)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let said = BufReader::new(child.stderr.take().unwrap()).lines();
        Node { child, said }
    }

    /// Waits for a line.
    fn says(&mut self, text: &str) {
        let mut all = Vec::new();
        for line in self.said.by_ref().map_while(Result::ok) {
            let found = line.contains(text);
            all.push(line);
            if found {
                return;
            }
        }
        panic!("it never said {text:?}: {}", all.join("\n"));
    }

    fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Exit code, standard output, standard error.
fn ctl(folder: &Path, arguments: &[&str]) -> (i32, String, String) {
    let done = Command::new(env!("CARGO_BIN_EXE_causeway"))
        .arg("ctl")
        .args(arguments)
        .arg("--state")
        .arg(folder.join("state"))
        .env("USER", "alice")
        .env_remove("SUDO_USER")
        .current_dir(folder)
        .output()
        .unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (
        done.status.code().unwrap(),
        text(done.stdout),
        text(done.stderr),
    )
}

/// Writes a document, and applies it.
fn apply(folder: &Path, text: &str, more: &[&str]) -> (i32, String, String) {
    std::fs::write(folder.join("new.toml"), text).unwrap();
    ctl(folder, &[&["apply", "new.toml"], more].concat())
}

#[test]
fn an_empty_node_is_given_settings_and_takes_up_changes_while_it_runs() {
    let folder = folder("live");
    let mut node = Node::run(&folder, &[]);
    node.says("there are no settings yet");
    let core = std::fs::read_to_string(folder.join("core.toml")).unwrap();
    let (code, out, err) = apply(&folder, &core, &["--reason", "first"]);
    assert_eq!((code, err.as_str()), (0, ""), "{out}");
    assert!(
        out.ends_with("revision 1\n") && out.contains("+ domains/example.test"),
        "{out}"
    );
    assert!(!out.contains("horse"), "{out}");
    node.says("running");

    // Taken up at once.
    let more = format!("{core}[[allow_list]]\nhost = \"photos.example.test\"\n");
    let (code, out, _) = apply(&folder, &more, &["--dry-run"]);
    assert_eq!(code, 0);
    assert!(out.ends_with("nothing was changed: --dry-run\n"), "{out}");
    let (code, out, _) = apply(&folder, &more, &[]);
    assert_eq!(code, 0);
    assert!(
        out.contains("+ allow_list/https://photos.example.test/"),
        "{out}"
    );
    assert!(!out.contains("next start"), "{out}");
    let (_, rules, _) = ctl(&folder, &["allow-list", "show"]);
    assert!(rules.contains("photos.example.test"), "{rules}");

    // Not taken up, and said.
    let moved = more.replace("name = \"core1\"", "name = \"core2\"");
    let (_, out, _) = apply(&folder, &moved, &[]);
    assert!(out.contains("takes effect at next start: name\n"), "{out}");
    let (code, out, _) = ctl(&folder, &["rollback"]);
    assert_eq!(code, 0);
    assert!(
        out.ends_with("revision 4\n") && !out.contains("next start"),
        "{out}"
    );
    let (_, history, _) = ctl(&folder, &["history", "--json"]);
    let history: serde_json::Value = serde_json::from_str(&history).unwrap();
    assert_eq!(history[0]["reason"], "back to revision 2");
    assert_eq!(history[3]["author"], "alice");
    assert!(
        history[3]["via"]
            .as_str()
            .unwrap()
            .starts_with("local socket, uid ")
    );

    // Refused, with line, cause and fix.
    let wrong = format!("{more}[[zones]]\nname = \"t\"\ntype = \"moon\"\n");
    let (code, _, err) = apply(&folder, &wrong, &[]);
    let line = wrong.lines().count();
    assert_eq!(code, 1);
    assert!(
        err.contains(&format!("line {line}: error: zones.type")),
        "{err}"
    );
    assert!(err.ends_with("nothing was changed\n"), "{err}");
    node.kill();
}

#[test]
fn settings_outlive_a_kill_and_go_to_another_node_under_a_passphrase() {
    let (folder, other) = (folder("kill"), folder("other"));
    let mut node = Node::run(
        &folder,
        &["--import", folder.join("core.toml").to_str().unwrap()],
    );
    node.says("running");
    let (_, before, _) = ctl(&folder, &["export"]);
    assert!(
        before.contains("Secrets are left out") && !before.contains("horse"),
        "{before}"
    );
    let sealed = ["--passphrase-file", "passphrase"];
    let (code, export, _) = ctl(&folder, &[&["export"], &sealed[..]].concat());
    assert_eq!(code, 0);
    let (code, _, err) = ctl(&folder, &[&["backup", "b"], &sealed[..]].concat());
    assert_eq!(code, 0, "{err}");
    node.kill();
    let mut node = Node::run(
        &folder,
        &["--import", folder.join("core.toml").to_str().unwrap()],
    );
    node.says("running");
    assert_eq!(ctl(&folder, &["export"]).1, before);
    // One process holds the folder.
    let (code, _, err) = ctl(&folder, &["export", "--offline"]);
    assert_eq!(code, 3, "{err}");
    node.kill();

    // Without a node.
    let (code, out, _) = ctl(&folder, &["export", "--offline"]);
    assert_eq!((code, &out), (0, &before));
    let (code, _, err) = ctl(&folder, &["export"]);
    assert_eq!(code, 3);
    assert!(err.contains("--offline"), "{err}");
    std::fs::write(other.join("export.toml"), &export).unwrap();
    let (code, _, err) = ctl(&other, &["apply", "export.toml", "--offline"]);
    assert_eq!(code, 3);
    assert!(err.contains("--passphrase-file"), "{err}");
    let arguments = [&["apply", "export.toml", "--offline"], &sealed[..]].concat();
    let (code, out, err) = ctl(&other, &arguments);
    assert_eq!(code, 0, "{out}{err}");
    std::fs::copy(folder.join("b"), other.join("b")).unwrap();
    let (code, out, _) = ctl(
        &other,
        &[&["restore", "b", "--offline"], &sealed[..]].concat(),
    );
    assert_eq!(code, 0);
    assert!(out.ends_with("nothing to change\n"), "{out}");
}

#[test]
fn a_file_whose_folder_has_other_settings_is_told_so() {
    let folder = folder("differ");
    let core = std::fs::read_to_string(folder.join("core.toml")).unwrap();
    let arguments = ["apply", "core.toml", "--offline"];
    assert_eq!(ctl(&folder, &arguments).0, 0);
    let check = |text: &str| {
        std::fs::write(
            folder.join("file.toml"),
            format!("data = \"state\"\n{text}"),
        )
        .unwrap();
        let mut asked = Command::new(env!("CARGO_BIN_EXE_causeway"));
        let asked = asked
            .args(["check", "--config"])
            .arg(folder.join("file.toml"));
        String::from_utf8(asked.output().unwrap().stdout).unwrap()
    };
    let same = check(&core);
    assert!(!same.contains("other settings"), "{same}");
    let others = check(&core.replace("name = \"core1\"", "name = \"core2\""));
    assert!(others.contains("line 1: warning: data"), "{others}");
    assert!(
        others.contains("other settings: 1 items, as node"),
        "{others}"
    );
}
