//! `cargo lab signin`, `call` and `message`: a client in a lab that runs.
//!
//! Each prints what it did, line by line, or one JSON object; the status is good if all went well.

mod call;
mod message;
mod signin;

use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

pub(crate) use call::call;
pub(crate) use message::message;
pub(crate) use signin::signin;

use crate::client::Remote;
use crate::file::LabFile;
use crate::ladder::Recorder;
use crate::terminal;
use crate::tour::Paint;

/// What a command says, as it happens or in the end.
struct Teller {
    as_json: bool,
    paint: Paint,
    facts: serde_json::Map<String, Value>,
}

impl Teller {
    fn new(as_json: bool) -> Teller {
        Teller {
            as_json,
            paint: Paint::detect(),
            facts: serde_json::Map::new(),
        }
    }

    /// Something that went well.
    fn tell(&mut self, key: &str, value: impl Into<Value>, text: &str) {
        self.facts.insert(key.to_owned(), value.into());
        if !self.as_json {
            terminal::line(&format!("{} {text}", self.paint.green("✓")));
        }
    }

    /// The end: the object, or the reason on standard error, and the status.
    fn end(mut self, outcome: Result<()>) -> ExitCode {
        let reason = outcome.as_ref().err().map(|fault| format!("{fault:#}"));
        if self.as_json {
            self.facts.insert("ok".into(), json!(reason.is_none()));
            if let Some(reason) = &reason {
                self.facts.insert("error".into(), json!(reason));
            }
            terminal::line(&format!("{:#}", Value::Object(self.facts)));
        } else if let Some(reason) = &reason {
            terminal::line(&format!("{} {reason}", self.paint.red("✗")));
        }
        if reason.is_none() {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        }
    }
}

/// Finds the edge and signs in as that user.
///
/// # Errors
/// No edge, no such user, or refused.
async fn sign_in(lab: &LabFile, who: &str, password: Option<&str>) -> Result<Remote> {
    let user = lab.user(who)?;
    let recorder = Recorder::new("client");
    let mut remote = Remote::discover(lab, user, &recorder)
        .await
        .context("finding the edge")?;
    let (domain, password) = (
        remote.domain.clone(),
        password.unwrap_or(&user.password).to_owned(),
    );
    let reply = remote
        .sign_in(&domain, &password)
        .await
        .context("signing in")?;
    if reply.status != 200 {
        let text: String = reply.text().chars().take(200).collect();
        let answer = format!("{} {}", reply.status, text.trim());
        bail!("{} is refused with {}", user.name, answer.trim_end());
    }
    Ok(remote)
}
