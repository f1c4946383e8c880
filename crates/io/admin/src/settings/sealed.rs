//! Settings that leave the node: an export with sealed secrets, a backup.
//!
//! An export is a TOML document; with a passphrase its first key, `sealed_secrets`, holds what was
//! left out, as base64 of [`store::passphrase`] over JSON. A backup is that over everything.

use base::Secret;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use config::document::{Document, Item, NODE};
use serde::{Deserialize, Serialize};
use store::passphrase::{self, CHARACTERS_MIN};

use super::{Found, Refusal, node_name};

/// The key of an export that holds its secrets.
const SEALED: &str = "sealed_secrets";

/// What a backup holds.
#[derive(Serialize, Deserialize)]
struct Backup {
    format: u32,
    node: String,
    revision: u64,
    document: String,
}

const FORMAT: u32 = 1;

pub(super) fn export(
    revision: u64,
    document: &Document,
    passphrase: Option<&Secret<String>>,
) -> Result<String, Refusal> {
    let mut out = format!(
        "# Settings of {}, revision {revision}. Import with causeway ctl apply.\n",
        node_name(document)
    );
    let secrets = document.secrets();
    match passphrase {
        None if secrets.is_empty() => {}
        None => out.push_str("# Secrets are left out.\n"),
        Some(passphrase) => {
            long_enough(passphrase)?;
            let rows: Vec<(&str, String)> = secrets
                .iter()
                .map(|s| {
                    (
                        s.path.as_str(),
                        toml::to_string(&s.table).unwrap_or_default(),
                    )
                })
                .collect();
            let text = serde_json::to_vec(&rows).unwrap_or_default();
            let sealed = STANDARD.encode(passphrase::seal(passphrase, &text)?);
            out.push_str(&format!("{SEALED} = \"{sealed}\"\n"));
        }
    }
    out.push('\n');
    out.push_str(&document.without_secrets().text());
    Ok(out)
}

/// Takes an export's sealed secrets out of it.
pub(super) fn unseal(
    document: Document,
    passphrase: Option<&Secret<String>>,
) -> Result<(Document, Vec<Item>), Refusal> {
    let mut items = document.items().to_vec();
    let node = items.iter_mut().find(|i| i.path == NODE);
    let Some(sealed) = node.and_then(|node| node.table.remove(SEALED)) else {
        return Ok((document, Vec::new()));
    };
    let document = Document::of_items(items);
    let Some(passphrase) = passphrase else {
        return Err(Refusal::Wrong {
            detail: "the document's secrets are sealed under a passphrase".into(),
            fix: "give it (--passphrase-file), or remove the line sealed_secrets: then secrets \
                  stay what they are",
        });
    };
    let sealed = sealed.as_str().and_then(|s| STANDARD.decode(s).ok());
    let opened = passphrase::open(passphrase, &sealed.unwrap_or_default())?;
    let rows: Vec<(String, String)> =
        serde_json::from_slice(opened.expose()).map_err(|e| damaged(&e))?;
    let mut secrets = Vec::with_capacity(rows.len());
    for (path, text) in rows {
        let table = toml::from_str(&text).map_err(|e| damaged(&e))?;
        secrets.push(Item { path, table });
    }
    Ok((document, secrets))
}

pub(super) fn backup(
    revision: u64,
    document: &Document,
    passphrase: &Secret<String>,
) -> Result<Vec<u8>, Refusal> {
    long_enough(passphrase)?;
    let whole = Backup {
        format: FORMAT,
        node: node_name(document),
        revision,
        document: document.text(),
    };
    let text = Secret::new(serde_json::to_vec(&whole).unwrap_or_default());
    Ok(passphrase::seal(passphrase, text.expose())?)
}

pub(super) fn restore(backup: &[u8], passphrase: &Secret<String>) -> Result<Document, Refusal> {
    let opened = passphrase::open(passphrase, backup)?;
    let whole: Backup = serde_json::from_slice(opened.expose()).map_err(|e| damaged(&e))?;
    if whole.format != FORMAT {
        return Err(damaged(&"a later version of this program wrote it"));
    }
    Document::parse(&whole.document).map_err(|f| Refusal::Mistakes(vec![Found::from(&f)]))
}

fn long_enough(passphrase: &Secret<String>) -> Result<(), Refusal> {
    if passphrase.expose().chars().count() >= CHARACTERS_MIN {
        return Ok(());
    }
    Err(Refusal::Wrong {
        detail: format!("the passphrase has fewer than {CHARACTERS_MIN} characters"),
        fix: "take a longer one: who has the file can try as many as they like",
    })
}

fn damaged(cause: &dyn std::fmt::Display) -> Refusal {
    Refusal::Damaged {
        path: "what was sealed".into(),
        cause: cause.to_string(),
    }
}
