//! Targets behind TLS.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use slotway::internals::load::plan::{Kind, Target};
use slotway::internals::load::{Cause, Progress, run};

use super::{carried_out, plan};
use crate::faulty_server::{Fault, FaultyServer};
use crate::project_files;

/// A TLS proxy in front of a server.
fn with_tls(behind: SocketAddr) -> SocketAddr {
    use rustls::pki_types::pem::PemObject;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer};
    let certificate = CertificateDer::from_pem_file(tls_file("cert.pem")).expect("a certificate");
    let key = PrivateKeyDer::from_pem_file(tls_file("key.pem")).expect("a key");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .expect("they belong together");
    let config = Arc::new(config);
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    let address = listener.local_addr().expect("an address");
    std::thread::spawn(move || {
        for client in listener.incoming().map_while(Result::ok) {
            let session = rustls::ServerConnection::new(Arc::clone(&config)).expect("a session");
            let server = TcpStream::connect(behind).expect("the server behind is up");
            std::thread::spawn(move || unwrap_tls(session, client, server));
        }
    });
    address
}

/// Serves one connection; requests and replies alternate, so that one thread suffices.
fn unwrap_tls(session: rustls::ServerConnection, client: TcpStream, mut server: TcpStream) {
    let mut client = rustls::StreamOwned::new(session, client);
    let mut piece = [0; 32 * 1024];
    // A reply arrives within this time, or there is none yet.
    server.set_read_timeout(Some(Duration::from_millis(5))).expect("a timeout");
    client.sock.set_read_timeout(Some(Duration::from_millis(5))).expect("a timeout");
    let is_silence = |error: &std::io::Error| {
        matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut)
    };
    loop {
        match client.read(&mut piece) {
            Ok(0) => return,
            Ok(len) => server.write_all(&piece[..len]).expect("the server behind is up"),
            Err(error) if is_silence(&error) => {}
            Err(_) => return,
        }
        match server.read(&mut piece) {
            Ok(0) => return,
            Ok(len) => {
                if client.write_all(&piece[..len]).and_then(|()| client.flush()).is_err() {
                    return;
                }
            }
            Err(error) if is_silence(&error) => {}
            Err(_) => return,
        }
    }
}

fn tls_file(name: &str) -> PathBuf {
    project_files::path("tests/data/tls").join(name)
}

#[test]
fn tls_targets_need_a_trusted_certificate() {
    let server = FaultyServer::start(Fault::None);
    let address = with_tls(server.address);
    let with = |change: fn(&mut Target)| {
        let mut plan = plan(Kind::Transfer, address);
        plan.target.url =
            Some(format!("rediss://localhost:{}", address.port()).parse().expect("a url"));
        (plan.shape.connections, plan.shape.transactions) = (4, Some(40));
        change(&mut plan.target);
        plan
    };
    for trusting in [with(|t| t.insecure = true), with(|t| t.cacert = Some(tls_file("cert.pem")))] {
        let report = carried_out(&trusting);
        assert_eq!(report.totals.committed + report.totals.declined, 40, "{:?}", report.totals);
        assert!(!report.is_broken(), "{:?}", report.invariants);
    }
    let failure = run(&with(|_| {}), &Progress::default()).expect_err("it is self-signed");
    assert!(failure.message.contains("certificate"), "{failure}");
    let failure = run(&with(|t| t.cacert = Some(tls_file("key.pem"))), &Progress::default());
    let failure = failure.expect_err("no certificate in it");
    assert!(failure.cause == Cause::Usage && failure.message.contains("--cacert"), "{failure}");
}
