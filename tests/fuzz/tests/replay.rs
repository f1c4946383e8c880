//! Every target is given its corpus, and what a seed makes of it.
//!
//! `CAUSEWAY_FUZZ_ROUNDS` (default 1,500 a target) and `CAUSEWAY_FUZZ_SEED` (default 1) change how
//! far it goes. A failure prints the target, the round and the input.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use base::Rng;
use fuzz::{TARGETS, Target, mutate};

/// The corpus of a target: its own folder, and the torture messages for what reads SIP.
fn corpus(target: &Target) -> Vec<(PathBuf, Vec<u8>)> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut folders = vec![here.join("corpus").join(target.name)];
    if ["sip_message", "sip_stream"].contains(&target.name) {
        folders.extend(["rfc4475", "rfc5118"].map(|name| here.join("../torture").join(name)));
    }
    let mut inputs = Vec::new();
    for folder in folders {
        let entries = fs::read_dir(&folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
        for entry in entries {
            let path = entry.unwrap().path();
            let bytes = fs::read(&path).unwrap();
            inputs.push((path, bytes));
        }
    }
    inputs.sort();
    inputs
}

/// Gives a target an input; says what was wrong and shows the input.
fn give(target: &Target, what: &str, input: &[u8]) {
    if catch_unwind(AssertUnwindSafe(|| (target.run)(input))).is_err() {
        let kept = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("crash-{}", target.name));
        fs::write(&kept, input).unwrap();
        panic!(
            "{}: {what} broke it; the input is in {}: {}",
            target.name,
            kept.display(),
            input.escape_ascii()
        );
    }
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name)
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(default)
}

fn replay_and_mutate(name: &str) {
    let target = fuzz::target(name).unwrap();
    let inputs = corpus(target);
    assert!(!inputs.is_empty(), "{name} has no corpus");
    for (path, bytes) in &inputs {
        give(target, &path.display().to_string(), bytes);
    }
    let inputs: Vec<Vec<u8>> = inputs.into_iter().map(|(_, bytes)| bytes).collect();
    let seed = number("CAUSEWAY_FUZZ_SEED", 1);
    let mut rng = Rng::from_number(seed);
    for round in 0..number("CAUSEWAY_FUZZ_ROUNDS", 1500) {
        let mut input = inputs[rng.below(inputs.len() as u64) as usize].clone();
        for _ in 0..=rng.below(3) {
            mutate::mutate(&mut rng, &mut input, &inputs, target.words);
        }
        give(target, &format!("round {round} of seed {seed}"), &input);
    }
}

macro_rules! targets {
    ($($name:ident)*) => {
        $(
            #[test]
            fn $name() {
                replay_and_mutate(stringify!($name));
            }
        )*

        #[test]
        fn every_target_is_replayed() {
            let replayed = [$(stringify!($name)),*];
            let all: Vec<&str> = TARGETS.iter().map(|target| target.name).collect();
            assert_eq!(all, replayed);
        }
    };
}

targets! {
    sip_message sip_stream sip_address sip_credentials sip_locate sdp_session sdes link_frame
    media_frame srtp relay http_framing edge_path documents session_token signed_token sso_documents
    saml_metadata saml_response configuration xmpp_stream xmpp_sign_in xmpp_starttls
}
