//! A host and a stranger on one bridge, in a network namespace of the test's own. Root only.

use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::process::Command;

use rustix::thread::UnshareFlags;
use scute_dhcp::client::{self, Answer, Question};
use scute_netlink::{Mac, tap};
use tokio::io::unix::AsyncFd;
use tokio::time::{Duration, timeout};

use super::*;
use crate::config::{Nic, Shape};
use crate::rack::{Equipment, Network, Place, Programs};

const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 85, 0, 1);
const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 85, 240, 7);
const HOST: [u8; 6] = [0x52, 0x54, 0, 1, 2, 3];
const STRANGER: [u8; 6] = [0x52, 0x54, 0, 9, 9, 9];
/// `struct virtio_net_hdr`, before each frame of a tap.
const HEADER: usize = 10;

fn ip(arguments: &str) {
    let status = Command::new("ip").args(arguments.split(' ')).status().unwrap();
    assert!(status.success(), "ip {arguments}");
}

/// What a guest has of its network card.
struct Card(AsyncFd<File>);

impl Card {
    fn plug(name: &str) -> Self {
        let file = tap::open("/dev/net/tun".as_ref(), name, 1).unwrap().remove(0);
        // SAFETY: the file is never replaced.
        Self(unsafe { AsyncFd::register(File::from(file)) }.unwrap())
    }

    /// Asks in the name of a MAC, from a MAC.
    fn ask(&self, question: Question, transaction: u32, of: [u8; 6], from: [u8; 6]) {
        let payload = client::write(question, transaction, of);
        let frame = Frame {
            from,
            to: BROADCAST,
            source: (Ipv4Addr::UNSPECIFIED, CLIENT_PORT),
            destination: (Ipv4Addr::BROADCAST, SERVER_PORT),
            payload: &payload,
        };
        let frame = [&[0; HEADER][..], &frame.write().unwrap()].concat();
        assert_eq!(self.0.get_ref().write(&frame).unwrap(), frame.len());
    }

    /// The datagram to a client in the next frame that has one.
    async fn hear(&self) -> Vec<u8> {
        loop {
            let mut ready =
                timeout(Duration::from_secs(30), self.0.readable()).await.expect("an answer").unwrap();
            let found = self.waiting();
            ready.clear_ready();
            if let Some(found) = found.into_iter().next() {
                return found;
            }
        }
    }

    /// The datagrams to clients that have come.
    fn waiting(&self) -> Vec<Vec<u8>> {
        let mut found = vec![];
        let mut buffer = [0; 2048];
        loop {
            match self.0.get_ref().read(&mut buffer) {
                Ok(read) => {
                    let frame = Frame::read(&buffer[HEADER..read]);
                    let to_client = frame.filter(|frame| frame.destination.1 == CLIENT_PORT);
                    found.extend(to_client.map(|frame| frame.payload.to_vec()));
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return found,
                Err(error) => panic!("{error}"),
            }
        }
    }
}

fn equipment() -> Equipment {
    let network = Network {
        bridge: "cni0".into(),
        gateway: GATEWAY,
        prefix: 16,
        dns: vec![Ipv4Addr::new(10, 86, 0, 10)],
        addresses: (ADDRESS, ADDRESS),
    };
    let nowhere = std::path::PathBuf::from("/nowhere");
    let programs = Programs {
        qemu: scute_qemu::Qemu::new(&nowhere),
        ovmf_code: nowhere.clone(),
        ovmf_vars: nowhere,
        nic_rom: None,
    };
    let place = Place { bmc: GATEWAY.into(), network: Some(network) };
    Equipment { programs, place, accelerator: scute_qemu::Accelerator::Tcg }
}

async fn asks_and_answers() {
    ip("link add cni0 mtu 1400 type bridge");
    ip("addr add 10.85.0.1/16 dev cni0");
    ip("link set cni0 up");
    let (equipment, mut config) = (equipment(), HostConfig::new("a", 3, 1, &Shape::default()).unwrap());
    config.nics = vec![Nic { mac: Mac(HOST), address: Some(ADDRESS) }];
    let (host, stranger) = (Card::plug(&config.tap(0)), Card::plug("stranger"));
    let plugged = equipment.plug(&config.tap(0)).unwrap().unwrap();
    equipment.plug("stranger").unwrap();
    let server = Server::of(&config, 0, &plugged).unwrap();
    let serving = tokio::spawn(server.run(UdpFrames::open(plugged.tap, SERVER_PORT).unwrap()));

    // In the host's name, and in its own.
    stranger.ask(Question::Discover, 1, HOST, HOST);
    stranger.ask(Question::Select { address: GATEWAY, server: GATEWAY }, 2, HOST, STRANGER);
    stranger.ask(Question::Discover, 3, STRANGER, STRANGER);
    // A card behind the host's.
    host.ask(Question::Discover, 4, STRANGER, STRANGER);
    host.ask(Question::Discover, 5, HOST, HOST);
    let offer = client::read(&host.hear().await, 5, HOST).expect("an answer to the host's own question");
    assert_eq!(offer, Answer::Offer { address: ADDRESS, server: GATEWAY });
    host.ask(Question::Select { address: ADDRESS, server: GATEWAY }, 6, HOST, HOST);
    let Some(Answer::Lease(lease)) = client::read(&host.hear().await, 6, HOST) else { panic!("no lease") };
    assert_eq!((lease.address.to_string().as_str(), lease.gateway), ("10.85.240.7/16", Some(GATEWAY)));
    assert_eq!((lease.resolvers, lease.hostname.as_str()), (vec![Ipv4Addr::new(10, 86, 0, 10)], "a"));
    // Someone else's address, as of a disk that was in another server.
    host.ask(Question::Rebind(GATEWAY), 7, HOST, HOST);
    assert_eq!(client::read(&host.hear().await, 7, HOST), Some(Answer::Refused));
    assert_eq!(stranger.waiting(), Vec::<Vec<u8>>::new(), "nothing of it is for others");

    drop(host);
    timeout(Duration::from_secs(30), serving).await.expect("it ends with the tap").unwrap();
}

#[test]
fn a_host_has_its_address_and_nobody_else_is_answered() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let failed = std::thread::spawn(|| {
        // SAFETY: the thread shares nothing with others that it would lose.
        unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNET) }.unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(asks_and_answers());
    });
    failed.join().unwrap();
}
