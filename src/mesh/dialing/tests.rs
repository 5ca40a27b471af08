use super::*;
use crate::mesh::dial_budget::{ADDRESS_TRIES, Voucher};
use crate::mesh::peer::Parting;
use crate::mesh::targets::{MAX_TARGETS, SPREAD};
use rand_chacha::rand_core::{Rng, SeedableRng};

const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));

fn gossip(address: &str, peer: PeerId, teller: u8) -> Claim {
    Claim {
        address: Address::parse(address).unwrap(),
        peer,
        teller: PeerId([teller; 32]),
        voucher: Voucher {
            network: teller.into(),
            source: teller.into(),
        },
        seen: false,
        scopes: Scopes::PUBLIC,
        polite: false,
    }
}

/// Makes a peer known by gossip of another that is linked to it.
fn vouched(roster: &mut Roster, now: Instant, id: PeerId) {
    let peer = roster.entry(now, id).unwrap();
    peer.vouchers.insert(PeerId([0xee; 32]));
}

fn numbered(n: u32) -> PeerId {
    let mut id = [1; 32];
    id[..4].copy_from_slice(&n.to_be_bytes());
    PeerId(id)
}

#[test]
fn gossip_is_dialled_three_times_as_fast_as_it_can_pay() {
    let mut rng = rand_chacha::ChaCha20Rng::seed_from_u64(1);
    let start = Instant::now();
    let mut roster = Roster::new(PeerId([0; 32]), Duration::from_secs(60));
    let mut dialing = Dialing::default();
    for n in 1..=20u8 {
        let id = PeerId([n; 32]);
        vouched(&mut roster, start, id);
        let address = format!("192.0.2.{n}");
        dialing.learn(start, &mut rng, &roster, gossip(&address, id, 0xee));
    }
    let (mut now, mut dials, mut conn) = (start, 0, 0);
    while let Some(at) = dialing.deadline(&roster) {
        now = now.max(at);
        let Some(address) = dialing.next(now, &roster) else {
            break;
        };
        conn += 1;
        dials += 1;
        dialing.dialled(now, &roster, &address, ConnId(conn));
        dialing.failed(now, &mut rng, &address);
    }
    assert_eq!(dials, 60);
    // 32 at once, and one in ten seconds.
    assert!(now - start >= Duration::from_secs(270));
}

#[test]
fn gossip_is_dialled_on_for_the_one_that_answered_there() {
    let mut rng = rand_chacha::ChaCha20Rng::seed_from_u64(1);
    let mut now = Instant::now();
    let mut roster = Roster::new(PeerId([0; 32]), Duration::from_secs(60));
    let mut dialing = Dialing::default();
    let address = Address::parse("192.0.2.1").unwrap();
    for n in [1, 2] {
        vouched(&mut roster, now, numbered(n));
        let claim = gossip("192.0.2.1", numbered(n), 0xee);
        dialing.learn(now, &mut rng, &roster, claim);
    }
    for conn in 0..20 {
        now = now.max(dialing.deadline(&roster).unwrap());
        dialing.dialled(now, &roster, &address, ConnId(conn));
        dialing.answered(&address, Site::at(HERE), numbered(2));
        dialing.failed(now, &mut rng, &address);
    }
    roster.get_mut(&numbered(2)).unwrap().leave(now);
    let for_the_other = dial_in_vain(&mut dialing, &roster, now).len();
    assert_eq!(for_the_other, ADDRESS_TRIES);
}

#[test]
fn other_phrase_ends_dials_unless_a_member_answered() {
    let mut rng = rand_chacha::ChaCha20Rng::seed_from_u64(1);
    let (now, roster) = (
        Instant::now(),
        Roster::new(PeerId([0; 32]), Duration::from_secs(60)),
    );
    let address = Address::parse("192.0.2.1").unwrap();
    let mut dialing = Dialing::default();
    dialing.want(now, address.clone(), false);
    let stops: Vec<_> = (0..5)
        .map(|_| dialing.refused(now, &mut rng, &address))
        .collect();
    assert_eq!(stops, [false, false, false, false, true]);
    assert!(dialing.all_refused());
    assert_eq!(dialing.deadline(&roster), None);
    dialing.want(now, address.clone(), false);
    dialing.reached(&address, Site::at(HERE), PeerId([1; 32]));
    assert!((0..9).all(|_| !dialing.refused(now, &mut rng, &address)));
    assert!(!dialing.all_refused());
}

/// A member gossips 800 addresses, and then another one, linked from this network, gossips one.
fn tell_of_one_beside_tales(network: Network) {
    let mut rng = rand_chacha::ChaCha20Rng::seed_from_u64(1);
    let start = Instant::now();
    let mut roster = Roster::new(PeerId([0; 32]), Duration::from_secs(60));
    let mut dialing = Dialing::default();
    for n in 0..200 {
        vouched(&mut roster, start, numbered(n));
        for host in 0..4 {
            let address = format!("1.{host}.0.{n}");
            dialing.learn(
                start,
                &mut rng,
                &roster,
                gossip(&address, numbered(n), 0xaa),
            );
        }
    }
    vouched(&mut roster, start, numbered(999));
    let honest = "203.0.113.9";
    let mut claim = gossip(honest, numbered(999), 0xbb);
    claim.voucher.network = network;
    dialing.learn(start, &mut rng, &roster, claim);
    assert!(dialing.targets.len() <= MAX_TARGETS + 1);
    let mut now = start;
    // As many as the other's network can pay for at once.
    for conn in 0..=32 {
        now = now.max(dialing.deadline(&roster).unwrap());
        let address = dialing.next(now, &roster).unwrap();
        if address == Address::parse(honest).unwrap() {
            return;
        }
        dialing.dialled(now, &roster, &address, ConnId(conn));
        dialing.failed(now, &mut rng, &address);
    }
    panic!("the honest one has to wait for the other's tales");
}

#[test]
fn liar_does_not_stop_dials_at_what_others_say() {
    tell_of_one_beside_tales(0xbb);
}

#[test]
fn liar_does_not_stop_dials_at_what_its_network_says() {
    tell_of_one_beside_tales(0xaa);
}

#[test]
fn an_address_that_made_room_is_not_dialled_more_often_for_it() {
    let mut rng = rand_chacha::ChaCha20Rng::seed_from_u64(1);
    let mut now = Instant::now();
    let mut roster = Roster::new(PeerId([0; 32]), Duration::from_secs(60));
    let mut dialing = Dialing::default();
    vouched(&mut roster, now, numbered(1));
    let mut dials: BTreeMap<Address, usize> = BTreeMap::new();
    let mut told = ["192.0.2.1", "192.0.2.2", "192.0.2.3", "192.0.2.4"];
    for round in 0..50 {
        told.rotate_left(1);
        for address in told {
            dialing.learn(now, &mut rng, &roster, gossip(address, numbered(1), 0xaa));
        }
        while let Some(at) = dialing.deadline(&roster) {
            now = now.max(at);
            let address = dialing.next(now, &roster).unwrap();
            dialing.dialled(now, &roster, &address, ConnId(round));
            dialing.failed(now, &mut rng, &address);
            *dials.entry(address).or_default() += 1;
        }
    }
    assert!(!dials.is_empty() && dials.values().all(|tries| *tries <= ADDRESS_TRIES));
}

/// Addresses that this end has not dialled yet, each at a host of its own.
fn crowd(
    dialing: &mut Dialing,
    roster: &mut Roster,
    now: Instant,
    addresses: impl Iterator<Item = Address>,
    teller: u8,
) {
    let mut rng = rand_chacha::ChaCha20Rng::seed_from_u64(1);
    for (n, address) in addresses.enumerate() {
        let id = numbered(n as u32 % 200);
        vouched(roster, now, id);
        let claim = gossip(&address.to_string(), id, teller);
        dialing.learn(now, &mut rng, roster, claim);
    }
}

/// Makes the dials that are due until none is, or for this time; none is answered.
fn dial_in_vain(dialing: &mut Dialing, roster: &Roster, start: Instant) -> Vec<Address> {
    let mut rng = rand_chacha::ChaCha20Rng::seed_from_u64(1);
    let (mut now, mut dialled) = (start, Vec::new());
    while let Some(at) = dialing.deadline(roster) {
        now = now.max(at);
        if now > start + Duration::from_secs(3600) {
            break;
        }
        let address = dialing.next(now, roster).unwrap();
        dialing.dialled(now, roster, &address, ConnId(dialled.len() as u64));
        dialing.failed(now, &mut rng, &address);
        dialled.push(address);
    }
    dialled
}

#[test]
fn ports_of_one_host_are_dialled_four_times_for_one_network() {
    let now = Instant::now();
    let mut roster = Roster::new(PeerId([0; 32]), Duration::from_secs(60));
    let mut dialing = Dialing::default();
    let ports = || (1..513).map(|port| Address::from_ip([1, 2, 3, 4].into(), port));
    crowd(&mut dialing, &mut roster, now, ports(), 0xaa);
    assert_eq!(dial_in_vain(&mut dialing, &roster, now).len(), 4);
    let later = now + Duration::from_secs(3600);
    crowd(&mut dialing, &mut roster, later, ports(), 0xaa);
    assert_eq!(dial_in_vain(&mut dialing, &roster, later), []);
    crowd(&mut dialing, &mut roster, later, ports(), 0xbb);
    assert_eq!(dial_in_vain(&mut dialing, &roster, later).len(), 2);
}

#[test]
fn many_hosts_are_dialled_as_fast_as_a_network_can_pay() {
    let now = Instant::now();
    let mut roster = Roster::new(PeerId([0; 32]), Duration::from_secs(60));
    let mut dialing = Dialing::default();
    let hosts = (0..512).map(|n| Address::from_ip([1, 2, (n / 256) as u8, n as u8].into(), 1));
    crowd(&mut dialing, &mut roster, now, hosts, 0xaa);
    // In an hour; all of it has been spent.
    let dials = dial_in_vain(&mut dialing, &roster, now).len();
    assert!((385..=32 + 360).contains(&dials), "{dials}");
}

#[test]
fn spent_network_delays_no_address_of_the_user_or_of_a_lost_peer() {
    let mut rng = rand_chacha::ChaCha20Rng::seed_from_u64(1);
    let now = Instant::now();
    let mut roster = Roster::new(PeerId([0; 32]), Duration::from_secs(60));
    let mut dialing = Dialing::default();
    let hosts = (0..512).map(|n| Address::from_ip([1, 2, (n / 256) as u8, n as u8].into(), 1));
    crowd(&mut dialing, &mut roster, now, hosts, 0xaa);
    while let Some(address) = dialing.next(now + SPREAD, &roster) {
        dialing.dialled(now, &roster, &address, ConnId(1));
    }
    let named = Address::parse("9.9.9.9").unwrap();
    dialing.want(now, named.clone(), false);
    assert_eq!(dialing.next(now + SPREAD, &roster), Some(named.clone()));
    dialing.dialled(now, &roster, &named, ConnId(2));
    let lost = Address::parse("8.8.8.8").unwrap();
    roster.entry(now, numbered(500)).unwrap().miss(now);
    let claim = Claim {
        seen: true,
        ..gossip("8.8.8.8", numbered(500), 0xaa)
    };
    dialing.learn(now, &mut rng, &roster, claim);
    assert_eq!(dialing.next(now + SPREAD, &roster), Some(lost));
}

#[test]
fn a_dial_that_finds_the_named_peer_costs_nothing() {
    let mut rng = rand_chacha::ChaCha20Rng::seed_from_u64(1);
    let now = Instant::now();
    let mut roster = Roster::new(PeerId([0; 32]), Duration::from_secs(60));
    let mut dialing = Dialing::default();
    for n in 0..200 {
        let id = numbered(n);
        vouched(&mut roster, now, id);
        let address = Address::from_ip([1, 2, 3, 4].into(), 1000 + n as u16);
        let claim = gossip(&address.to_string(), id, 0xaa);
        dialing.learn(now, &mut rng, &roster, claim);
        assert_eq!(dialing.next(now + SPREAD, &roster), Some(address.clone()));
        dialing.dialled(now, &roster, &address, ConnId(1));
        dialing.reached(&address, Site::at([1, 2, 3, 4].into()), id);
        roster.get_mut(&id).unwrap().link(now, ConnId(1));
    }
}

#[test]
fn a_dial_that_finds_somebody_else_is_paid_for() {
    let now = Instant::now();
    let mut roster = Roster::new(PeerId([0; 32]), Duration::from_secs(60));
    let mut dialing = Dialing::default();
    let hosts = (0..100).map(|n| Address::from_ip([1, 2, 3, n].into(), 1));
    crowd(&mut dialing, &mut roster, now, hosts, 0xaa);
    let mut dials = 0;
    while let Some(address) = dialing.next(now + SPREAD, &roster) {
        dialing.dialled(now, &roster, &address, ConnId(1));
        dialing.reached(&address, Site::at(HERE), numbered(999));
        dials += 1;
    }
    assert_eq!(dials, 32);
}

/// Gossip places many peers at one address, and one of them comes from a member of this network.
fn tell_of_one_among_many(network: Network) {
    let mut rng = rand_chacha::ChaCha20Rng::seed_from_u64(1);
    let now = Instant::now();
    let mut roster = Roster::new(PeerId([0; 32]), Duration::from_secs(60));
    let mut dialing = Dialing::default();
    let mut tell = |n: u32, teller, network| {
        vouched(&mut roster, now, numbered(n));
        let mut claim = gossip("1.2.3.4", numbered(n), teller);
        claim.voucher.network = network;
        dialing.learn(now, &mut rng, &roster, claim);
    };
    (0..50).for_each(|n| tell(n, 0xaa, 0xaa));
    tell(99, 0xbb, network);
    (50..100).for_each(|n| tell(n, 0xaa, 0xaa));
    assert!(dialing.is_trying(&numbered(99), &roster));
}

#[test]
fn network_leaves_others_their_tries_at_an_address() {
    tell_of_one_among_many(0xbb);
}

#[test]
fn member_leaves_its_neighbours_their_tries_at_an_address() {
    tell_of_one_among_many(0xaa);
}

/// The owner of a name can change its addresses.
#[test]
fn a_name_is_judged_each_time_that_it_is_dialled() {
    let mut rng = rand_chacha::ChaCha20Rng::seed_from_u64(1);
    let now = Instant::now();
    let mut roster = Roster::new(PeerId([0; 32]), Duration::from_secs(60));
    let mut dialing = Dialing::default();
    vouched(&mut roster, now, numbered(1));
    dialing.learn(now, &mut rng, &roster, gossip("a.example", numbered(1), 1));
    let address = Address::parse("a.example").unwrap();
    let numbers = |texts: &[&str]| -> Vec<IpAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    };
    let mut dial = |texts: &[&str]| {
        let step = dialing.dialled(now + SPREAD, &roster, &address, ConnId(1));
        assert_eq!(step, DialStep::LookUp);
        let ip = dialing.looked_up(&address, &numbers(texts));
        dialing.failed(now, &mut rng, &address);
        ip.map(|ip| ip.to_string())
    };
    assert_eq!(dial(&["127.0.0.1", "1.2.3.4"]).as_deref(), Some("1.2.3.4"));
    assert_eq!(dial(&["127.0.0.1", "192.168.0.1", "::ffff:10.0.0.1"]), None);
    assert_eq!(dial(&["1.2.3.4", "5.6.7.8"]).as_deref(), Some("1.2.3.4"));
}

#[test]
fn names_of_one_host_count_together() {
    let mut rng = rand_chacha::ChaCha20Rng::seed_from_u64(1);
    let now = Instant::now();
    let mut roster = Roster::new(PeerId([0; 32]), Duration::from_secs(60));
    let mut dialing = Dialing::default();
    let victim: IpAddr = [1, 2, 3, 4].into();
    let mut reached = 0;
    for n in 0..30 {
        vouched(&mut roster, now, numbered(n));
        let name = format!("host{n}.example");
        dialing.learn(now, &mut rng, &roster, gossip(&name, numbered(n), 1));
        let address = Address::parse(&name).unwrap();
        dialing.dialled(now + SPREAD, &roster, &address, ConnId(1));
        reached += usize::from(dialing.looked_up(&address, &[victim]).is_some());
        dialing.failed(now, &mut rng, &address);
    }
    assert_eq!(reached, 4);
}

/// Its owner may make it lead elsewhere once a peer has answered there.
#[test]
fn a_name_that_leads_elsewhere_later_is_bounded_there() {
    let mut rng = rand_chacha::ChaCha20Rng::seed_from_u64(1);
    let now = Instant::now();
    let mut roster = Roster::new(PeerId([0; 32]), Duration::from_secs(60));
    let mut dialing = Dialing::default();
    let (own, victim) = ([1, 2, 3, 4].into(), [5, 6, 7, 8].into());
    vouched(&mut roster, now, numbered(1));
    dialing.learn(now, &mut rng, &roster, gossip("a.example", numbered(1), 1));
    let address = Address::parse("a.example").unwrap();
    dialing.dialled(now, &roster, &address, ConnId(1));
    assert_eq!(dialing.looked_up(&address, &[own]), Some(own));
    dialing.reached(&address, Site::at(own), numbered(1));
    let mut dials = [0; 2];
    for _ in 0..20 {
        for (n, ip) in [own, victim].into_iter().enumerate() {
            dialing.dialled(now, &roster, &address, ConnId(1));
            dials[n] += u32::from(dialing.looked_up(&address, &[ip]).is_some());
            dialing.failed(now, &mut rng, &address);
        }
    }
    assert_eq!(dials, [20, 3]);
}

/// It could not be dropped when its peer left, since a dial was under way.
#[test]
fn an_address_whose_peer_left_during_a_dial_makes_room() {
    let mut rng = rand_chacha::ChaCha20Rng::seed_from_u64(1);
    let now = Instant::now();
    let mut roster = Roster::new(PeerId([0; 32]), Duration::from_secs(60));
    let mut dialing = Dialing::default();
    for n in 1..3 * MAX_TARGETS as u32 {
        let (id, port) = (numbered(n), n as u16);
        let address = Address::from_ip([198, 51, 100, 7].into(), port);
        let claim = Claim {
            seen: true,
            ..gossip(&address.to_string(), id, 0)
        };
        roster.entry(now, id).unwrap().miss(now);
        dialing.learn(now, &mut rng, &roster, claim);
        dialing.dialled(now, &roster, &address, ConnId(1));
        dialing.reached(&address, Site::at(HERE), id);
        dialing.dialled(now, &roster, &address, ConnId(2));
        roster.get_mut(&id).unwrap().leave(now);
        dialing.departed(now, &mut rng, &id);
        dialing.failed(now, &mut rng, &address);
        assert!(dialing.targets.len() <= 2);
    }
}

/// A member that has filled everything with gossip costs no more than any other.
#[test]
fn unchanged_addresses_are_examined_once() {
    let mut rng = rand_chacha::ChaCha20Rng::seed_from_u64(1);
    let now = Instant::now();
    let mut roster = Roster::new(PeerId([0; 32]), Duration::from_secs(60));
    let mut dialing = Dialing::default();
    for n in 0..200 {
        vouched(&mut roster, now, numbered(n));
        let claim = gossip(&format!("1.0.0.{n}"), numbered(n), 0xaa);
        dialing.learn(now, &mut rng, &roster, claim);
    }
    roster.refresh();
    let before = dialing.targets.looks.get();
    for _ in 0..100 {
        assert_eq!(dialing.next(now, &roster), None);
        assert!(dialing.deadline(&roster).is_some());
        // What most steps do: a message of a peer.
        roster.get_mut(&numbered(7)).unwrap().showing.seq += 1;
        roster.refresh();
    }
    assert_eq!(dialing.targets.looks.get() - before, 1);
}

/// The kept result never differs from a new search.
#[test]
fn whatever_changes_the_next_dial_is_known() {
    let mut rng = rand_chacha::ChaCha20Rng::seed_from_u64(1);
    let mut now = Instant::now();
    let mut roster = Roster::new(PeerId([0; 32]), Duration::from_secs(60));
    let mut dialing = Dialing::default();
    for step in 0..20_000 {
        let mut draw = |below: u64| rng.next_u64() % below;
        let (id, other) = (numbered(draw(8) as u32), numbered(draw(8) as u32));
        let address = format!("192.0.2.{}", draw(12));
        let (what, conn, tie) = (draw(18), ConnId(step), draw(2) == 0);
        let at = Address::parse(&address).unwrap();
        let peer = roster.entry(now, id).unwrap();
        match what {
            0 => peer.link(now, conn),
            1 => drop(peer.part(now, Parting::GiveUp)),
            2 => peer.miss(now),
            3 if tie => peer.leave(now),
            3 => peer.forgive(),
            4 => drop(peer.vouchers.insert(other)),
            5 => drop(peer.vouchers.remove(&other)),
            6 => dialing.want(now, at, tie),
            7 => dialing.failed(now, &mut rng, &at),
            8 => drop(dialing.refused(now, &mut rng, &at)),
            9 => dialing.is_own(now, &at),
            10 => dialing.answered(&at, Site::at(HERE), id),
            11 => drop(dialing.reached(&at, Site::at(HERE), id)),
            12 => dialing.lost(now, &mut rng, &id, now),
            13 => dialing.departed(now, &mut rng, &id),
            14 => dialing.rest(now, &mut rng, &id),
            15 => now += Duration::from_millis(300),
            _ => {
                let claim = Claim {
                    seen: tie,
                    ..gossip(&address, id, 0xaa)
                };
                dialing.learn(now, &mut rng, &roster, claim);
            }
        }
        roster.refresh();
        let due_at = |(at, target)| dialing.targets.due_at(at, target, &roster);
        let due = dialing.targets.iter().filter_map(due_at).min();
        assert_eq!(dialing.deadline(&roster), due, "step {step}");
        let next = dialing.next(now, &roster);
        assert_eq!(next.is_some(), due.is_some_and(|due| due <= now));
        if let Some(address) = next {
            dialing.dialled(now, &roster, &address, conn);
        }
    }
}

#[test]
fn address_of_the_user_is_dialled_whatever_others_say() {
    let mut rng = rand_chacha::ChaCha20Rng::seed_from_u64(1);
    let now = Instant::now();
    let mut roster = Roster::new(PeerId([0; 32]), Duration::from_secs(60));
    let mut dialing = Dialing::default();
    let address = Address::parse("192.0.2.1").unwrap();
    dialing.want(now, address.clone(), false);
    roster.entry(now, numbered(1)).unwrap().link(now, ConnId(7));
    dialing.learn(now, &mut rng, &roster, gossip("192.0.2.1", numbered(1), 1));
    assert_eq!(dialing.next(now, &roster), Some(address.clone()));
    roster.get_mut(&numbered(1)).unwrap().leave(now);
    dialing.departed(now, &mut rng, &numbered(1));
    assert_eq!(dialing.next(now, &roster), Some(address.clone()));
    let before = dialing.reached(&address, Site::at(HERE), numbered(2));
    assert_eq!(before, None);
}

/// Guesses of the phrase in a minute, if each dial allows one to an attacker that takes it and does
/// not answer: of every `taken` dials the next one leads to a link that lasts for ten seconds, if
/// any does.
fn guesses_in_a_minute(taken: u32, let_through: bool) -> f64 {
    let mut rng = rand_chacha::ChaCha20Rng::seed_from_u64(1);
    let (start, roster) = (
        Instant::now(),
        Roster::new(PeerId([0; 32]), Duration::from_secs(60)),
    );
    let (mut now, mut dialing, mut guesses) = (start, Dialing::default(), 0);
    let (address, peer) = (Address::parse("192.0.2.1").unwrap(), numbered(1));
    dialing.want(now, address.clone(), false);
    while guesses < 3000 {
        for _ in 0..taken {
            now = now.max(dialing.deadline(&roster).unwrap());
            dialing.dialled(now, &roster, &address, ConnId(1));
            dialing.broke_off(now, &mut rng, &address);
            guesses += 1;
        }
        if let_through {
            now = now.max(dialing.deadline(&roster).unwrap());
            dialing.dialled(now, &roster, &address, ConnId(1));
            dialing.reached(&address, Site::at(HERE), peer);
            dialing.linked(now, &mut rng, &address);
            dialing.lost(now + LASTING, &mut rng, &peer, now);
            now += LASTING;
        }
    }
    f64::from(guesses) * 60.0 / (now - start).as_secs_f64()
}

/// SECURITY.md, "Somebody in the middle".
#[test]
fn dials_give_few_guesses_to_who_takes_them() {
    let unanswered = guesses_in_a_minute(1, false);
    assert!((1.8..2.2).contains(&unanswered), "{unanswered}");
    let cut = (1..20).map(|taken| guesses_in_a_minute(taken, true));
    let most = cut.fold(0.0, f64::max);
    assert!((20.0..30.0).contains(&most), "{most}");
}
