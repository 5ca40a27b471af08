//! How long strangers can keep a member out, and what they cost: real processes over loopback, with
//! attackers in 200 networks and a member whose wire has a round trip of 100 ms.
//!
//! `cargo bench --bench strangers -- [--program PATH] [--trials N] [SCENARIO…]`; without names, all
//! of them. `--profile dev` spares an optimised build. Each line is one trial.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_methods
)]

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use getrandom::SysRng;
use rand_core::UnwrapErr;
use sesame::net::tls::{Secured, Tls};
use sesame::proto::handshake::Dialler;
use sesame::proto::{CELL, Identity};
use sesame::secret::Secret;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;

/// The latency of the member's wire in each direction.
const ONE_WAY: Duration = Duration::from_millis(50);
/// The number of networks that the attackers are in.
const NETWORKS: u64 = 200;
/// How long a flood lasts before a member comes.
const BEFORE: Duration = Duration::from_secs(3);
/// The longest wait for a member.
const PATIENCE: Duration = Duration::from_secs(120);
/// How long a stranger keeps a connection open.
const HOLDS: Duration = Duration::from_secs(10);
const PHRASE: &str = "lantern crisp orbit maple";

/// How far a stranger's connection gets.
#[derive(Clone, Copy, Debug)]
enum Reach {
    /// Nothing is sent.
    Bare,
    /// A ClientHello that was recorded.
    Hello,
    /// 60 KB of a ClientHello that does not end.
    Endless,
    /// TLS.
    Tls,
    /// Ya: Yb comes back.
    Ya,
    /// Ta with another phrase: a guess.
    Ta,
}

#[derive(Clone, Copy)]
struct Flood {
    reach: Reach,
    per_second: u64,
    from: From,
}

#[derive(Clone, Copy)]
enum From {
    Networks,
    One(Ipv4Addr),
}

impl From {
    fn address(self, number: u64) -> Ipv4Addr {
        match self {
            Self::Networks => {
                let network = number % NETWORKS;
                Ipv4Addr::new(127, 10, network as u8, 1 + (number / NETWORKS % 250) as u8)
            }
            Self::One(address) => address,
        }
    }
}

const fn from_everywhere(reach: Reach, per_second: u64) -> Flood {
    Flood {
        reach,
        per_second,
        from: From::Networks,
    }
}

/// A child process that ends when this is dropped.
struct Sesame {
    child: Child,
    events: mpsc::Receiver<serde_json::Value>,
    _dir: tempfile::TempDir,
}

impl Drop for Sesame {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Sesame {
    fn start(program: &Path, args: &[&str], wrap: Option<&str>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let phrase = dir.path().join("phrase");
        std::fs::write(&phrase, PHRASE).unwrap();
        let mut command = match wrap {
            None => Command::new(program),
            Some(shell) => {
                let mut command = Command::new("sh");
                command.args(["-c", &format!("{shell}; exec \"$0\" \"$@\"")]);
                command.arg(program);
                command
            }
        };
        let mut child = command
            .args(["--json", "--stay", "--phrase-file"])
            .arg(phrase)
            .args(args)
            .env("XDG_CONFIG_HOME", dir.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let (events_in, events) = mpsc::channel();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        std::thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                let event = serde_json::from_str(&line).unwrap();
                if events_in.send(event).is_err() {
                    return;
                }
            }
        });
        Self {
            child,
            events,
            _dir: dir,
        }
    }

    fn listener(program: &Path) -> (Self, SocketAddr) {
        Self::listener_after(program, None)
    }

    fn listener_after(program: &Path, wrap: Option<&str>) -> (Self, SocketAddr) {
        let args = ["--listen", "127.0.0.1", "--port", "0"];
        let sesame = Self::start(program, &args, wrap);
        let ready = sesame.event("ready", PATIENCE).unwrap();
        let addr = ready["listen"][0].as_str().unwrap().parse().unwrap();
        (sesame, addr)
    }

    fn member(program: &Path, peer: SocketAddr) -> Self {
        let sesame = Self::start(program, &["--no-listen", "-p", &peer.to_string()], None);
        sesame.event("ready", PATIENCE).unwrap();
        sesame
    }

    /// The next event of this type.
    fn event(&self, kind: &str, patience: Duration) -> Option<serde_json::Value> {
        let until = Instant::now() + patience;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let event = self.events.recv_timeout(left).ok()?;
            if event["type"] == kind {
                return Some(event);
            }
        }
    }

    /// CPU time so far, of all threads.
    fn cpu(&self) -> Duration {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap();
        let fields: Vec<_> = stat.rsplit(") ").next().unwrap().split(' ').collect();
        let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
        Duration::from_millis(ticks * 10)
    }

    fn kib(&self, what: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(what));
        let size = line.unwrap().trim_start_matches(':').trim();
        size.trim_end_matches(" kB").parse().unwrap()
    }
}

/// The progress of the strangers so far.
#[derive(Default)]
struct Done {
    begun: AtomicU64,
    /// Connections that got as far as intended.
    whole: AtomicU64,
}

struct Attack {
    task: JoinHandle<()>,
    done: Arc<Done>,
}

impl Drop for Attack {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn attack(runtime: &Runtime, target: SocketAddr, flood: Flood) -> Attack {
    let done = Arc::new(Done::default());
    let counts = Arc::clone(&done);
    let task = runtime.spawn(async move {
        let mut clock = tokio::time::interval(Duration::from_micros(1_000_000 / flood.per_second));
        let hello = Arc::new(recorded_hello().await);
        let prs = Arc::new(Secret::<32>::fill_with(|bytes| bytes.fill(3)));
        let mut alive: VecDeque<(Instant, JoinHandle<()>)> = VecDeque::new();
        let tls = Tls::new();
        for number in 0.. {
            clock.tick().await;
            let (tls, hello, prs) = (tls.clone(), Arc::clone(&hello), Arc::clone(&prs));
            let counts = Arc::clone(&counts);
            let from = flood.from.address(number);
            let task = tokio::spawn(async move {
                counts.begun.fetch_add(1, Ordering::Relaxed);
                let stranger = stranger(target, from, flood.reach, &tls, &hello, &prs, &counts);
                let _ = tokio::time::timeout(HOLDS, stranger).await;
            });
            alive.push_back((Instant::now(), task));
            while alive.front().is_some_and(|(_, task)| task.is_finished()) {
                alive.pop_front();
            }
        }
    });
    Attack { task, done }
}

async fn recorded_hello() -> Vec<u8> {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let dial = tokio::spawn(async move {
        let stream = TcpStream::connect(addr).await.unwrap();
        let _ = Tls::new().dial(stream).await;
    });
    let (mut stream, _) = listener.accept().await.unwrap();
    let mut hello = vec![0; 5];
    stream.read_exact(&mut hello).await.unwrap();
    let length = usize::from(u16::from_be_bytes([hello[3], hello[4]]));
    hello.resize(5 + length, 0);
    stream.read_exact(&mut hello[5..]).await.unwrap();
    dial.abort();
    hello
}

async fn stranger(
    target: SocketAddr,
    from: Ipv4Addr,
    reach: Reach,
    tls: &Tls,
    hello: &[u8],
    prs: &Secret<32>,
    done: &Done,
) -> std::io::Result<()> {
    let mut stream = connect(IpAddr::V4(from), target).await?;
    let whole = || done.whole.fetch_add(1, Ordering::Relaxed);
    match reach {
        Reach::Bare => {
            whole();
            return wait_for_end(&mut stream).await;
        }
        Reach::Hello => {
            stream.write_all(hello).await?;
            stream.readable().await?;
            whole();
            return wait_for_end(&mut stream).await;
        }
        Reach::Endless => {
            stream.write_all(&endless_hello()).await?;
            whole();
            return wait_for_end(&mut stream).await;
        }
        Reach::Tls | Reach::Ya | Reach::Ta => {}
    }
    let Secured {
        mut stream,
        mut tls,
        channel,
    } = tls.dial(stream).await?;
    if matches!(reach, Reach::Tls) {
        whole();
        return wait_for_end(&mut stream).await;
    }
    let mut rng = UnwrapErr(SysRng);
    let identity = Identity::generate(&mut rng);
    let (state, ya) = Dialler::start(channel, prs, &identity, &mut rng);
    say(&mut stream, &mut tls, &ya[..]).await?;
    let yb = hear(&mut stream, &mut tls).await?;
    if matches!(reach, Reach::Ya) {
        whole();
        return wait_for_end(&mut stream).await;
    }
    let Ok((_, ta)) = state.receive(&yb, &identity) else {
        return Ok(());
    };
    say(&mut stream, &mut tls, &ta[..]).await?;
    hear(&mut stream, &mut tls).await?;
    whole();
    Ok(())
}

/// Four records of 15,000 bytes of one handshake message of 65,000.
fn endless_hello() -> Vec<u8> {
    const RECORD: usize = 15_000;
    let mut message = vec![1, 0, 0xfd, 0xe8];
    message.resize(4 * RECORD, 0);
    let record = |piece: &[u8]| [&[22, 3, 1, 0x3a, 0x98], piece].concat();
    message.chunks(RECORD).flat_map(record).collect()
}

async fn connect(from: IpAddr, to: SocketAddr) -> std::io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddr::new(from, 0))?;
    let stream = socket.connect(to).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

async fn say(
    stream: &mut TcpStream,
    tls: &mut rustls::Connection,
    cell: &[u8],
) -> std::io::Result<()> {
    tls.writer().write_all(cell)?;
    let mut wire = Vec::new();
    while tls.wants_write() {
        tls.write_tls(&mut wire)?;
    }
    stream.write_all(&wire).await
}

async fn hear(
    stream: &mut TcpStream,
    tls: &mut rustls::Connection,
) -> std::io::Result<Box<[u8; CELL]>> {
    let mut cell = Box::new([0; CELL]);
    let mut filled = 0;
    let mut wire = [0; 4096];
    while filled < CELL {
        let read = stream.read(&mut wire).await?;
        if read == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        tls.read_tls(&mut &wire[..read])?;
        let state = tls.process_new_packets().map_err(std::io::Error::other)?;
        let ready = state.plaintext_bytes_to_read().min(CELL - filled);
        std::io::Read::read_exact(&mut tls.reader(), &mut cell[filled..filled + ready])?;
        filled += ready;
    }
    Ok(cell)
}

async fn wait_for_end(stream: &mut TcpStream) -> std::io::Result<()> {
    let mut dropped = [0; 4096];
    while stream.read(&mut dropped).await? > 0 {}
    Ok(())
}

/// A wire with a round trip of 100 ms, whose far end has an address of its own.
struct Relay {
    addr: SocketAddr,
    cut: tokio::sync::watch::Sender<u64>,
}

fn relay(runtime: &Runtime, from: Ipv4Addr, to: SocketAddr) -> Relay {
    let near = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
    let addr = near.local_addr().unwrap();
    let (cut, cuts) = tokio::sync::watch::channel(0);
    runtime.spawn(async move {
        while let Ok((dialler, _)) = near.accept().await {
            let mut cuts = cuts.clone();
            cuts.mark_unchanged();
            tokio::spawn(async move {
                dialler.set_nodelay(true).unwrap();
                tokio::time::sleep(ONE_WAY).await;
                let Ok(listener) = connect(IpAddr::V4(from), to).await else {
                    return;
                };
                let (from_dialler, to_dialler) = dialler.into_split();
                let (from_listener, to_listener) = listener.into_split();
                let passing = async {
                    tokio::join!(
                        delayed(from_dialler, to_listener),
                        delayed(from_listener, to_dialler)
                    )
                };
                tokio::select! {
                    _ = passing => {}
                    _ = cuts.changed() => {}
                }
            });
        }
    });
    Relay { addr, cut }
}

async fn delayed(
    mut from: tokio::net::tcp::OwnedReadHalf,
    mut to: tokio::net::tcp::OwnedWriteHalf,
) {
    let (under_way, mut arriving) = tokio::sync::mpsc::channel::<(Instant, Vec<u8>)>(64);
    let reading = async move {
        let mut block = vec![0; 4096];
        while let Ok(read @ 1..) = from.read(&mut block).await {
            let at = Instant::now() + ONE_WAY;
            if under_way.send((at, block[..read].to_vec())).await.is_err() {
                return;
            }
        }
    };
    let writing = async {
        while let Some((at, bytes)) = arriving.recv().await {
            tokio::time::sleep_until(at.into()).await;
            if to.write_all(&bytes).await.is_err() {
                return;
            }
        }
        let _ = to.shutdown().await;
    };
    tokio::join!(reading, writing);
}

struct Tool {
    program: PathBuf,
    trials: u32,
    runtime: Runtime,
}

fn secs(time: Option<Duration>) -> String {
    time.map_or("never".into(), |time| {
        format!("{:.2} s", time.as_secs_f64())
    })
}

impl Tool {
    /// A newcomer, while these floods go on.
    fn newcomer(&self, name: &str, floods: &[Flood], member: Ipv4Addr) {
        for trial in 1..=self.trials {
            let (listener, addr) = Sesame::listener(&self.program);
            let attacks: Vec<_> = floods
                .iter()
                .map(|flood| attack(&self.runtime, addr, *flood))
                .collect();
            std::thread::sleep(BEFORE);
            let relay = relay(&self.runtime, member, addr);
            let before = (listener.cpu(), Instant::now());
            let bob = Sesame::member(&self.program, relay.addr);
            let start = Instant::now();
            let in_after = bob.event("peer_up", PATIENCE).map(|_| start.elapsed());
            self.tell(
                name, trial, "in after", in_after, &listener, before, &attacks,
            );
        }
    }

    /// A member whose link is cut while these floods go on.
    fn returning(&self, name: &str, floods: &[Flood]) {
        for trial in 1..=self.trials {
            let (listener, addr) = Sesame::listener(&self.program);
            let relay = relay(&self.runtime, Ipv4Addr::new(127, 77, 0, 1), addr);
            let bob = Sesame::member(&self.program, relay.addr);
            bob.event("peer_up", PATIENCE).unwrap();
            let attacks: Vec<_> = floods
                .iter()
                .map(|flood| attack(&self.runtime, addr, *flood))
                .collect();
            std::thread::sleep(BEFORE);
            let before = (listener.cpu(), Instant::now());
            relay.cut.send_modify(|cuts| *cuts += 1);
            let start = Instant::now();
            let back = bob.event("peer_up", PATIENCE).map(|_| start.elapsed());
            self.tell(name, trial, "back after", back, &listener, before, &attacks);
        }
    }

    /// A newcomer, while strangers hold all places of a listener with few descriptors.
    fn few_descriptors(&self) {
        for trial in 1..=self.trials {
            let (listener, addr) = Sesame::listener_after(&self.program, Some("ulimit -n 64"));
            let held: Vec<_> = (0..200)
                .map(|number| {
                    let from = From::Networks.address(number);
                    let stream = connect(IpAddr::V4(from), addr);
                    self.runtime
                        .block_on(async { tokio::time::timeout(BEFORE, stream).await })
                })
                .collect();
            let relay = relay(&self.runtime, Ipv4Addr::new(127, 77, 0, 1), addr);
            let before = (listener.cpu(), Instant::now());
            let bob = Sesame::member(&self.program, relay.addr);
            let start = Instant::now();
            let in_after = bob.event("peer_up", PATIENCE).map(|_| start.elapsed());
            self.tell(
                "descriptors",
                trial,
                "in after",
                in_after,
                &listener,
                before,
                &[],
            );
            drop(held);
        }
    }

    #[allow(clippy::too_many_arguments)]
    fn tell(
        &self,
        name: &str,
        trial: u32,
        what: &str,
        time: Option<Duration>,
        listener: &Sesame,
        (cpu, since): (Duration, Instant),
        attacks: &[Attack],
    ) {
        let share = (listener.cpu() - cpu).as_secs_f64() / since.elapsed().as_secs_f64();
        let counts: Vec<_> = attacks
            .iter()
            .map(|attack| {
                let begun = attack.done.begun.load(Ordering::Relaxed);
                format!("{}/{begun}", attack.done.whole.load(Ordering::Relaxed))
            })
            .collect();
        println!(
            "{name:<14} {trial}: {what} {:<9} listener {:.0} % of a core, VmHWM {} KiB, strangers {}",
            secs(time),
            100.0 * share,
            listener.kib("VmHWM"),
            counts.join(" ")
        );
    }

    /// CPU time of the listener for each connection that gets this far.
    fn cost(&self, reach: Reach, per_second: u64) {
        let (listener, addr) = Sesame::listener(&self.program);
        let (before, resident) = (listener.cpu(), listener.kib("VmRSS"));
        let start = Instant::now();
        let attack = attack(&self.runtime, addr, from_everywhere(reach, per_second));
        std::thread::sleep(Duration::from_secs(8));
        let (cpu, time) = (listener.cpu() - before, start.elapsed());
        let begun = attack.done.begun.load(Ordering::Relaxed);
        let whole = attack.done.whole.load(Ordering::Relaxed);
        println!(
            "cost           {reach:?} at {per_second}/s: {:.3} ms each, {:.0} % of a core; {whole} of {begun} got so far; VmRSS grew by {} KiB",
            1000.0 * cpu.as_secs_f64() / begun as f64,
            100.0 * cpu.as_secs_f64() / time.as_secs_f64(),
            listener.kib("VmRSS").saturating_sub(resident),
        );
    }
}

fn main() {
    let mut args = std::env::args().skip(1).filter(|arg| arg != "--bench");
    let mut program = PathBuf::from(env!("CARGO_BIN_EXE_sesame"));
    let (mut trials, mut names) = (3, Vec::new());
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--program" => program = args.next().unwrap().into(),
            "--trials" => trials = args.next().unwrap().parse().unwrap(),
            _ => names.push(arg),
        }
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    let tool = Tool {
        program,
        trials,
        runtime,
    };
    let wanted = |name: &str| names.is_empty() || names.iter().any(|it| it == name);
    let far = Ipv4Addr::new(127, 77, 0, 1);
    let bare = |rate| from_everywhere(Reach::Bare, rate);
    let ya = |rate| from_everywhere(Reach::Ya, rate);
    if wanted("quiet") {
        tool.newcomer("quiet", &[], far);
    }
    if wanted("bare-300") {
        tool.newcomer("bare-300", &[bare(300)], far);
    }
    if wanted("bare-1000") {
        tool.newcomer("bare-1000", &[bare(1000)], far);
    }
    if wanted("bare-ya") {
        tool.newcomer("bare-ya", &[bare(300), ya(100)], far);
    }
    if wanted("ya-300") {
        tool.newcomer("ya-300", &[ya(300)], far);
    }
    if wanted("guesses-200") {
        tool.newcomer("guesses-200", &[from_everywhere(Reach::Ta, 120)], far);
    }
    for (name, flood) in [("returns-bare", bare(1000)), ("returns-ya", ya(300))] {
        if wanted(name) {
            tool.returning(name, &[flood]);
        }
    }
    for rate in [5, 20, 100] {
        let flood = Flood {
            reach: Reach::Ta,
            per_second: rate,
            from: From::One(far),
        };
        let name = format!("beside-{rate}");
        if wanted(&name) {
            tool.newcomer(&name, &[flood], far);
        }
        let name = format!("known-{rate}");
        if wanted(&name) {
            tool.returning(&name, &[flood]);
        }
    }
    if wanted("descriptors") {
        tool.few_descriptors();
    }
    if wanted("memory") {
        for reach in [Reach::Bare, Reach::Endless, Reach::Ya] {
            tool.cost(reach, 100);
        }
    }
    if wanted("cost") {
        for (reach, rate) in [
            (Reach::Bare, 300),
            (Reach::Hello, 200),
            (Reach::Tls, 200),
            (Reach::Ya, 150),
        ] {
            tool.cost(reach, rate);
        }
        for (reach, rate) in [(Reach::Bare, 3000), (Reach::Hello, 1500), (Reach::Ya, 700)] {
            tool.cost(reach, rate);
        }
    }
}
