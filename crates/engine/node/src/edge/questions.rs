//! What tasks and administrators ask an edge: most of it is its core's to know.

use base::Now;

use super::Edge;
use crate::io::{Answer, AskId, Output, Question};

impl Edge {
    pub(super) fn answer_question(&mut self, now: Now, id: AskId, question: Question) {
        let answer = match question {
            Question::Search(asked) => Answer::Search(Box::new(super::no_rules(asked))),
            Question::Servers(_) => Answer::Servers(Box::new(crate::core::no_servers(now))),
            Question::SignOut { .. } => Answer::SignOut(None),
            Question::AllowList(_) => Answer::AllowList(false),
            Question::SignIn(_)
            | Question::Sso(_)
            | Question::Bearer { .. }
            | Question::Chat { .. }
            | Question::ChatRefused { .. } => return,
        };
        self.station.out.push_back(Output::Answer { id, answer });
    }
}
