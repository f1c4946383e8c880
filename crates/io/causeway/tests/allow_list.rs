//! `causeway ctl allow-list` as an administrator types it: what it prints, what it writes, and
//! with what exit code it ends. No node runs here; what a running one says is tested where it is
//! made.

#![allow(clippy::unwrap_used)]

use std::net::{SocketAddr, UdpSocket};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

const CSV: &str = "Url,Deployment,HttpMethods,MatchType,Description\n\
    https://photos.test/directory/,home,,prefix,\"Photos, large\"\n\
    http://10.0.0.9:8080/status,,\"GET,POST\",exact,\n\
    https://known.test,,\"HEAD,GET\",,another word for it\n";

/// A core's configuration that can run, in a folder of its own.
fn configuration(folder: &str, more: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(folder);
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).unwrap();
    let name = "core1.example.test".to_owned();
    let made = rcgen::generate_simple_self_signed([name]).unwrap();
    let pem = made.cert.pem();
    std::fs::write(folder.join("chain.pem"), &pem).unwrap();
    std::fs::write(folder.join("trusted.pem"), &pem).unwrap();
    let key = folder.join("key.pem");
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).unwrap();
    let text = format!(
        r#"# The core of the test.
role = "core"
name = "core1"
domain = "example.test"
dns.servers = ["127.0.0.1:9"]
certificate = {{ chain = "chain.pem", key = "key.pem", trusted = "trusted.pem" }}
service.sip.listen = ["127.0.0.1:5060"]
service.media.listen = "127.0.0.1"
domains = [{{ name = "example.test" }}]
{more}
[[traversal.peer]]
name = "edge1"
dial = "192.0.2.1"
verify_name = "edge1.example.test"
user = "u"
password = "long and random"

[[unified_cm]]
publisher = "cucm1.test"
user = "axl"
password = "pw"
"#
    );
    let path = folder.join("core.toml");
    std::fs::write(&path, text).unwrap();
    path
}

const KNOWN: &str = "\n[[allow_list]] # kept\nhost = \"known.test\"\n";

/// Exit code, standard output, standard error.
fn ctl(config: &Path, arguments: &[&str]) -> (i32, String, String) {
    let (command, rest) = arguments.split_first().unwrap();
    let done = Command::new(env!("CARGO_BIN_EXE_causeway"))
        .args(["ctl", "allow-list", command, "--config"])
        .arg(config)
        .args(rest)
        .output()
        .unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (
        done.status.code().unwrap(),
        text(done.stdout),
        text(done.stderr),
    )
}

fn csv(config: &Path, text: &str) -> String {
    let path = config.with_file_name("rules.csv");
    std::fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

/// A DNS server that says of every question that it has failed; gives its address.
fn failing_dns() -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    std::thread::spawn(move || {
        let mut buffer = [0; 1024];
        while let Ok((n, from)) = socket.recv_from(&mut buffer) {
            buffer[2..4].copy_from_slice(&[0x81, 0x82]);
            let _ = socket.send_to(&buffer[..n], from);
        }
    });
    address
}

#[test]
fn an_import_writes_nothing_unless_told_and_then_keeps_every_line() {
    // A link to a file that is kept elsewhere; what the file names lies beside the link, where
    // `causeway run` looks for it.
    let link = configuration("import", KNOWN);
    let kept = link.with_file_name("kept");
    std::fs::create_dir(&kept).unwrap();
    let config = kept.join("core1.toml");
    std::fs::rename(&link, &config).unwrap();
    std::os::unix::fs::symlink(&config, &link).unwrap();
    let mode = std::fs::Permissions::from_mode(0o640);
    std::fs::set_permissions(&config, mode).unwrap();
    let old = std::fs::read_to_string(&config).unwrap();
    let file = csv(&config, CSV);

    let (code, shown, said) = ctl(&link, &["import", &file]);
    assert_eq!(code, 0, "{said}");
    assert_eq!(shown.matches("[[allow_list]]").count(), 2, "{shown}");
    assert!(
        said.contains("2 rules to add; nothing was written"),
        "{said}"
    );
    assert!(
        said.contains("line 2: deployment home is left out"),
        "{said}"
    );
    assert_eq!(std::fs::read_to_string(&config).unwrap(), old);

    let (code, shown_again, said) = ctl(&link, &["import", &file, "--write"]);
    assert_eq!((code, &shown_again), (0, &shown), "{said}");
    let new = std::fs::read_to_string(&config).unwrap();
    assert_eq!(new, format!("{old}\n{shown}"));
    let meta = std::fs::metadata(&config).unwrap();
    assert_eq!(meta.permissions().mode() & 0o777, 0o640);
    assert!(std::fs::symlink_metadata(&link).unwrap().is_symlink());

    let (code, shown, said) = ctl(&link, &["import", &file, "--write", "--json"]);
    assert_eq!(code, 0, "{said}");
    assert!(
        shown.contains("\"added\":0") && shown.contains("\"known\":3"),
        "{shown}"
    );
    assert_eq!(std::fs::read_to_string(&config).unwrap(), new);
    let left = std::fs::read_dir(config.parent().unwrap()).unwrap();
    let left = left.filter(|f| {
        f.as_ref()
            .unwrap()
            .file_name()
            .to_string_lossy()
            .ends_with(".new")
    });
    assert_eq!(left.count(), 0);

    // What is exported is what is there.
    let (code, exported, _) = ctl(&link, &["export"]);
    assert_eq!(code, 0);
    assert_eq!(exported.lines().count(), 4, "{exported}");
    let (_, shown, _) = ctl(&link, &["import", &csv(&config, &exported), "--json"]);
    assert!(shown.contains("\"added\":0"), "{shown}");
}

#[test]
fn an_import_with_a_mistake_leaves_the_file_as_it_was() {
    let config = configuration("mistakes", "");
    let old = std::fs::read_to_string(&config).unwrap();
    let bad = csv(
        &config,
        "Url\nhttps://fine.test/\nhttps://127.1/\nftp://x/\n",
    );
    let (code, _, said) = ctl(&config, &["import", &bad, "--write"]);
    assert_eq!(code, 1);
    assert!(
        said.contains("line 3:") && said.contains("line 4:"),
        "{said}"
    );
    assert_eq!(std::fs::read_to_string(&config).unwrap(), old);
    // Blocks cannot follow a list that is written in one line.
    let inline = configuration("inline", "allow_list = [{ host = \"a.test\" }]");
    let old = std::fs::read_to_string(&inline).unwrap();
    let (code, _, said) = ctl(&inline, &["import", &csv(&inline, CSV), "--write"]);
    assert_eq!(code, 1);
    assert!(said.contains("nothing was written"), "{said}");
    assert_eq!(std::fs::read_to_string(&inline).unwrap(), old);
    // What check refuses is not written.
    std::fs::remove_file(config.with_file_name("chain.pem")).unwrap();
    let (code, _, said) = ctl(&config, &["import", &csv(&config, CSV), "--write"]);
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("certificate"), "{said}");
    let (code, _, _) = ctl(&config, &["import", "/nothing/here"]);
    assert_eq!(code, 3);
}

#[test]
fn each_outcome_of_a_test_has_an_exit_code_of_its_own() {
    let config = configuration("codes", KNOWN);
    let rules = csv(&config, "Url\nhttp://10.0.0.9:8080/status\n");
    assert_eq!(ctl(&config, &["import", &rules, "--write"]).0, 0);
    let test = |more: &[&str]| ctl(&config, &[&["test"], more].concat());
    let passes = test(&["--offline", "http://10.0.0.9:8080/status/x"]);
    assert_eq!(passes.0, 0, "{passes:?}");
    assert!(passes.1.contains("dials    10.0.0.9:8080"), "{passes:?}");
    let refused = test(&[
        "--offline",
        "http://10.0.0.9:8080/status",
        "--method",
        "PUT",
    ]);
    assert_eq!(refused.0, 1, "{refused:?}");
    assert!(
        refused.1.contains("its methods are GET, HEAD, not PUT"),
        "{refused:?}"
    );
    assert!(
        refused.1.contains("[[allow_list]]\nhost = \"10.0.0.9\""),
        "{refused:?}"
    );
    for bad in ["nothing", "http://0x7f.1/", "/!/x"] {
        let bad = test(&["--offline", bad]);
        assert_eq!(bad.0, 2, "{bad:?}");
        assert!(bad.2.contains("; write https://HOST/PATH"), "{bad:?}");
    }
    let not_running = test(&["http://10.0.0.9:8080/status"]);
    assert_eq!(not_running.0, 3, "{not_running:?}");
    assert!(
        not_running.2.contains("; or add --offline: then"),
        "{not_running:?}"
    );
    // If DNS gives no answer it cannot be told, which is no refusal.
    let text = std::fs::read_to_string(&config).unwrap();
    let text = text.replace("127.0.0.1:9", &failing_dns().to_string());
    std::fs::write(&config, text).unwrap();
    let unsure = test(&["--offline", "http://web.test:8080/status"]);
    assert_eq!(unsure.0, 3, "{unsure:?}");
    // What was refused is in no file.
    let denied = ctl(&config, &["denied"]);
    assert_eq!(denied.0, 3, "{denied:?}");
    assert!(!denied.2.contains("--offline"), "{denied:?}");
}

#[test]
fn automatic_rules_are_shown_with_their_origin() {
    let config = configuration("show", KNOWN);
    let (code, shown, said) = ctl(&config, &["show", "--offline"]);
    assert_eq!(code, 0, "{said}");
    let row = shown
        .lines()
        .find(|l| l.contains("cucm1.test:8443/cucm-uds "))
        .unwrap();
    assert!(row.contains("unified_cm cucm1.test (automatic)"), "{row}");
    let row = shown.lines().find(|l| l.contains("known.test")).unwrap();
    assert!(row.contains("configuration"), "{row}");
    let (_, json, _) = ctl(&config, &["show", "--offline", "--json"]);
    assert!(
        json.contains("\"automatic\":true") && json.contains("\"hits\":null"),
        "{json}"
    );
}
