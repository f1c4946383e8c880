//! Questions: of tasks, each to its room, and of a configuration alone.

use std::sync::Arc;

use base::{Now, Rng, Secret};
use policy::token::TokenKey;

use super::{Core, CoreIdentity};
use crate::io::{Answer, AskId, Output, Question};

impl Core {
    /// A core that is asked what a configuration says, and never runs.
    pub(super) fn offline(now: Now, config: &Arc<config::Config>) -> Core {
        let identity = CoreIdentity {
            version: String::new(),
            ssh_key: String::new(),
            token_seed: Secret::new([0; 32]),
            users: None,
            kept: Vec::new(),
            signed_out: Vec::new(),
            servers: ::status::servers::ServersRecord::default(),
            certificate_names: Vec::new(),
        };
        Core::new(now, Rng::from_number(0), config, identity)
    }

    pub(super) fn asked_by_a_task(&mut self, now: Now, id: AskId, question: Question) {
        match question {
            Question::SignIn(asked) => self.sign_in(now, id, asked),
            Question::Sso(asked) => self.sso(now, id, *asked),
            Question::Bearer {
                domain,
                client,
                token,
            } => self.bearer(now, id, &domain, client, token),
            Question::Search(asked) => {
                let answer = Answer::Search(Box::new(self.report_search(asked)));
                self.station.out.push_back(Output::Answer { id, answer });
            }
            Question::Chat { client } => self.chat_asked(now, id, client),
            Question::ChatRefused {
                client,
                user,
                domain,
            } => self.chat_refused(now, id, client, user, domain),
            Question::SignOut { user, domain } => {
                self.sign_out_asked(now, id, user.expose(), &domain);
            }
            Question::Servers(asked) => self.servers_asked(now, id, asked),
        }
    }
}

/// The key of session tokens. Every seed makes one; should the library refuse it, users sign in
/// again after the next restart.
pub(super) fn token_key(identity: &CoreIdentity, rng: &mut Rng) -> TokenKey {
    let mut seed = *identity.token_seed.expose();
    loop {
        match TokenKey::from_seed(&seed) {
            Some(key) => return key,
            None => seed = rng.array(),
        }
    }
}
