//! CSV of another product, blocks that read back, and each mistake with its line.

use super::*;
use std::path::Path;

const SAMPLE: &str = "\u{feff}Url,Deployment,HttpMethods,MatchType,Description\r\n\
    https://server1.test:8443/path1,home,GET,,\"First, with \"\"marks\"\"\"\r\n\
    \r\n\
    http://SERVER2.test:8000/path2,,\"GET,put\",Exact,\r\n\
    https://[2001:db8::9],,,prefix,Third\n";

fn rule(host: &str) -> AllowRule {
    AllowRule {
        host: host.into(),
        scheme: "https".into(),
        port: 443,
        path: "/".into(),
        exact: false,
        methods: DEFAULT_METHODS.map(str::to_owned).to_vec(),
        proxy_protocol: false,
        description: String::new(),
    }
}

#[test]
fn a_csv_file_of_another_product_is_read() {
    let read = read_csv(SAMPLE).unwrap();
    let first = AllowRule {
        port: 8443,
        path: "/path1".into(),
        methods: vec!["GET".into()],
        description: "First, with \"marks\"".into(),
        ..rule("server1.test")
    };
    let second = AllowRule {
        scheme: "http".into(),
        port: 8000,
        path: "/path2".into(),
        exact: true,
        methods: vec!["GET".into(), "PUT".into()],
        ..rule("server2.test")
    };
    let third = AllowRule {
        description: "Third".into(),
        ..rule("2001:db8::9")
    };
    assert_eq!(read.rules, [first, second, third]);
    assert_eq!(read.notes.len(), 1);
    assert_eq!(read.notes[0].line, 2);
    assert!(read.notes[0].cause.contains("home"));
    // What is written is read again.
    assert_eq!(read_csv(&csv(&read.rules)).unwrap().rules, read.rules);
}

#[test]
fn each_mistake_in_a_csv_file_is_named_with_its_line() {
    for (text, line, word) in [
        ("", 1, "empty"),
        ("https://a.test/\n", 1, "no column Url"),
        ("Url\nftp://a.test/", 2, "neither http"),
        ("Url\n\nhttps://127.1/", 3, "spelling"),
        ("Url\nhttps://0x7f000001/", 2, "spelling"),
        ("Url\nhttps://a_b.test/", 2, "neither a name"),
        ("Url\nhttps://u@a.test/", 2, "user"),
        ("Url\nhttps://a.test:0/", 2, "range"),
        ("Url\nhttps://a.test:99999/", 2, "range"),
        ("Url\nhttps://2001:db8::1/", 2, "brackets"),
        ("Url\nhttps://a.test/../b", 2, "dot segment"),
        ("Url\nhttps://a.test/%2e%2E/b", 2, "dot segment"),
        ("Url\nhttps://a.test/a%2Fb", 2, "separator"),
        ("Url\nhttps://a.test/%zz", 2, "broken escape"),
        ("Url\nhttps://a.test/%", 2, "broken escape"),
        ("Url\nhttps://a.test/a%0d", 2, "control character"),
        ("Url\nhttps://[::10.0.0.9]/", 2, "spelling"),
        ("Url,MatchType\nhttps://a.test/,regex", 2, "neither exact"),
        ("Url,HttpMethods\nhttps://a.test/,CONNECT", 2, "CONNECT"),
        ("Url,HttpMethods\nhttps://a.test/,G=T", 2, "no method"),
        ("Url\n\"https://a.test/\n", 2, "not closed"),
    ] {
        let faults = read_csv(text).unwrap_err();
        assert_eq!(faults[0].line, line, "{text:?}: {faults:?}");
        assert!(faults[0].cause.contains(word), "{text:?}: {faults:?}");
    }
    let many = format!("Url\n{}", "https://a.test/\n".repeat(RULES_MAX + 1));
    assert_eq!(read_csv(&many).unwrap_err()[0].line, RULES_MAX + 2);
}

#[test]
fn a_block_of_a_rule_is_read_as_that_rule() {
    let core = "role = \"core\"\nname = \"core1\"\ndomain = \"example.test\"\n\
                [certificate]\nchain = \"c\"\nkey = \"k\"\ntrusted = \"t\"\n\
                [service.sip]\nlisten = [\"10.0.0.1:5060\"]\n[service.media]\n\
                listen = \"10.0.0.1\"\n[[domains]]\nname = \"example.test\"\n\
                [[traversal.peer]]\nname = \"e\"\ndial = \"192.0.2.1\"\nverify_name = \"e.test\"\n\
                user = \"u\"\npassword = \"long and random\"\n";
    let mut rules = read_csv(SAMPLE).unwrap().rules;
    rules.push(AllowRule {
        proxy_protocol: true,
        description: "a \\ \"b\" \u{7} ü".into(),
        ..rule("a.test")
    });
    let blocks: String = rules.iter().map(AllowRule::toml).collect();
    let read = crate::load(&format!("{core}{blocks}"), Path::new("x.toml"));
    let checked = match read {
        Ok(checked) => checked,
        Err(findings) => panic!("{findings:?}"),
    };
    let crate::Role::Core(core) = checked.config.role else {
        panic!("no core")
    };
    assert_eq!(core.allow_list, rules);
}
