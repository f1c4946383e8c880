//! A telephone whose addresses change: by its NAT, which tells nobody, or because it is in another
//! network.

use std::net::{IpAddr, SocketAddr};

use super::{Phase, Ua};

impl Ua {
    /// Its NAT gives the audio of its calls other ports. Its own descriptions stay as they are.
    pub fn rebind(&mut self, _now: u64) {
        for i in 0..self.calls.len() {
            let port = self.next_port;
            let call = &mut self.calls[i];
            if call.phase == Phase::Up {
                self.next_port += 6;
                for (beside, local) in call.media.locals().into_iter().enumerate() {
                    self.left.push(*local);
                    local.set_port(port + 2 * beside as u16);
                }
            }
        }
    }

    /// It is somewhere else. Calls that go on are told once it has registered from there.
    pub fn travel(&mut self, address: IpAddr) {
        let behind = self.setup.media != self.setup.signalled;
        self.setup.media = address;
        if !behind {
            self.setup.signalled = address;
            self.setup.host = SocketAddr::new(address, 5061).to_string();
        }
        for call in self.calls.iter_mut().filter(|c| c.phase == Phase::Up) {
            for local in call.media.locals() {
                self.left.push(*local);
                local.set_ip(address);
            }
            if !behind {
                call.media.signalled_anew(address);
            }
        }
        self.moved = true;
    }

    /// Registered from the new address: each call is told where its audio is now.
    pub(super) fn tell_of_move(&mut self, now: u64) {
        if !std::mem::take(&mut self.moved) {
            return;
        }
        for i in 0..self.calls.len() {
            if self.calls[i].phase == Phase::Up {
                let direction = self.calls[i].media.direction;
                self.change(now, i, direction);
            }
        }
    }
}
