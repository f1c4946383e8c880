//! What a client's program does by itself: it signs in again where its credentials are not taken
//! any more, and takes another edge where this one cannot serve it.

use super::World;
use crate::ua::{SECOND, Standing, Ua};

/// How often a client looks after itself.
const EVERY: u64 = 3 * SECOND;

/// Looks in a row at a refusal before another edge is taken.
const PATIENCE: u32 = 3;

impl World {
    /// From now on clients look after themselves, until the world is to become quiet.
    pub fn care(&mut self) {
        self.caring = true;
        self.look_after();
    }

    fn look_after(&mut self) {
        if !self.caring {
            return;
        }
        for i in 0..self.plan.clients {
            self.look_after_one(i);
        }
        self.after(EVERY, World::look_after);
    }

    fn look_after_one(&mut self, i: usize) {
        let standing = self.people[i].ua.registration.standing.clone();
        if let Some(n) = self.people[i].signing
            && let Some(reply) = self.sign_ins[n].reply.clone()
        {
            self.people[i].signing = None;
            if reply.status == 200 {
                self.with(i, Ua::register);
            } else {
                self.people[i].refused += 1;
            }
            return;
        }
        match standing {
            Standing::Refused(401 | 403 | 407) if self.people[i].signing.is_none() => {
                self.people[i].signing = Some(self.sign_in(i, None));
            }
            Standing::Refused(_) => self.people[i].refused += 1,
            Standing::Up => self.people[i].refused = 0,
            _ => {}
        }
        if self.people[i].refused >= PATIENCE {
            self.people[i].refused = 0;
            self.next_edge(i);
            self.disconnect(i);
        }
    }
}
