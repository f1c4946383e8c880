//! What several tests need: certificates, a node that answers, sockets.

use std::net::SocketAddr;
use std::time::Duration;

use driver::signal::Post;
use net::tls::{Identity, Trust};
use node::io::Input;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use tokio::net::TcpListener;
use tokio::sync::mpsc;

pub const SOON: Duration = Duration::from_secs(20);

pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

impl Authority {
    pub fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params
            .distinguished_name
            .push(DnType::CommonName, "test authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Authority {
            issuer: Issuer::new(params, key),
            pem,
        }
    }

    pub fn identity(&self, name: &str) -> Identity {
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        Identity::from_texts(certificate.pem().as_bytes(), key.serialize_pem().as_bytes()).unwrap()
    }

    pub fn trust(&self) -> Trust {
        Trust::from_text(self.pem.as_bytes()).unwrap()
    }
}

pub async fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

pub fn resolver() -> net::dns::Resolver {
    // Literal addresses only: nothing is asked.
    net::dns::Resolver::new(&["127.0.0.1:9".parse().unwrap()], base::Rng::from_number(1)).unwrap()
}

/// The next input that `wanted` likes; others are passed over.
pub async fn next<T>(
    posts: &mut mpsc::Receiver<Post>,
    mut wanted: impl FnMut(Input) -> Option<T>,
) -> T {
    let search = async {
        loop {
            match posts.recv().await {
                Some(Post::Input(input)) => {
                    if let Some(found) = wanted(input) {
                        return found;
                    }
                }
                Some(_) => {}
                None => panic!("no more posts"),
            }
        }
    };
    tokio::time::timeout(SOON, search)
        .await
        .expect("no such post in time")
}
