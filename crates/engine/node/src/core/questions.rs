//! What tasks and administrators ask the core, and who answers.

use base::Now;

use super::Core;
use crate::io::{Answer, AskId, Output, Question};

impl Core {
    pub(super) fn answer_question(&mut self, now: Now, id: AskId, question: Question) {
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
            Question::AllowList(rules) => self.allow_list_changed(now, id, rules),
            Question::Servers(asked) => self.servers_asked(now, id, asked),
            Question::Chat { client } => self.chat_asked(now, id, client),
            Question::ChatRefused {
                client,
                user,
                domain,
            } => self.chat_refused(now, id, client, user, domain),
            Question::SignOut { user, domain } => {
                self.sign_out_asked(now, id, user.expose(), &domain);
            }
        }
    }
}
