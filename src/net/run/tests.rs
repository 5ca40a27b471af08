//! A node with a hand-driven front end, over real sockets.

use std::net::Ipv4Addr;

use getrandom::SysRng;
use rand_core::UnwrapErr;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::*;
use crate::channels::{self, FrontendChannels, Waiting};
use crate::mesh::{Command, Cover, Outcome, Settings, Stay, Tag, Text, Undelivered};
use crate::proto::{Address, Host, Identity};
use crate::secret::Secret;

const PATIENCE: Duration = Duration::from_secs(20);

/// A node with a hand-driven front end.
struct Node {
    channels: FrontendChannels,
    interrupts: mpsc::UnboundedSender<i32>,
    names: watch::Receiver<Option<DisplayName>>,
    notices: mpsc::UnboundedSender<(u8, String)>,
    events: std::collections::VecDeque<Event>,
    addr: Address,
    task: JoinHandle<Ended>,
}

fn node(peers: Vec<Address>) -> Node {
    let here = Host::Ip(Ipv4Addr::LOCALHOST.into());
    let listener = listen::bind_host(Some(&here), listen::LOOPBACK, 0)
        .unwrap()
        .remove(0);
    let addr = listener.local_addr().unwrap();
    let settings = Settings {
        peers,
        listen_port: Some(addr.port()),
        cover: Cover::Off,
        stay: Stay::Always,
        report_each: true,
        ..Settings::default()
    };
    let key = Secret::fill_with(|bytes| bytes.fill(1));
    let identity = Identity::generate(&mut UnwrapErr(SysRng));
    let engine = Engine::new(
        settings,
        key,
        identity,
        Box::new(UnwrapErr(SysRng)),
        clock::now(),
    );
    let (channels, engine_channels, _) = channels::channels();
    let (interrupts, interrupts_out) = mpsc::unbounded_channel();
    let (notices, notices_out) = mpsc::unbounded_channel();
    let (names_in, names) = watch::channel(None);
    let run = Run {
        engine,
        channels: engine_channels,
        proxy: None,
        listeners: vec![listener],
        onion_listener: None,
        addresses: mpsc::unbounded_channel().1,
        heard: mpsc::channel(1).1,
        inactivity: Duration::from_secs(30),
        interrupts: interrupts_out,
        notices: notices_out,
        names: names_in,
    };
    let task = tokio::spawn(async move { run.run().await.unwrap().0 });
    Node {
        channels,
        interrupts,
        names,
        notices,
        events: [].into(),
        addr: addr.into(),
        task,
    }
}

fn request(command: Command) -> Request {
    Request {
        tag: Tag::default(),
        read_at: clock::now(),
        command,
    }
}

fn said(text: &str) -> Request {
    request(Command::Send {
        text: Text::from(text),
        to: None,
    })
}

impl Node {
    async fn order(&self, requests: Vec<Request>) {
        let messages = requests
            .iter()
            .filter(|r| matches!(r.command, Command::Send { .. }))
            .count();
        let counters = &self.channels.counters;
        (0..messages).for_each(|_| counters.count_parsed());
        assert!(
            self.channels
                .ordered
                .send(Waiting {
                    item: requests,
                    permit: None
                })
                .is_ok()
        );
    }

    /// The result of `wanted` for the first event for which it returns something.
    async fn until<T>(&mut self, wanted: impl Fn(&Event) -> Option<T>) -> T {
        let found = async {
            loop {
                while let Some(event) = self.events.pop_front() {
                    if let Event::Message { who, seq, .. } = &event {
                        self.channels
                            .shown
                            .send(vec![Shown {
                                peer: who.id,
                                seq: *seq,
                            }])
                            .unwrap();
                    }
                    if let Some(found) = wanted(&event) {
                        return found;
                    }
                }
                self.events
                    .extend(self.channels.events.recv().await.unwrap());
            }
        };
        timeout(PATIENCE, found).await.unwrap()
    }

    async fn text(&mut self) -> String {
        self.until(|event| match event {
            Event::Message { text, .. } => Some(text.as_str().to_owned()),
            _ => None,
        })
        .await
    }

    async fn bye(&mut self) -> Outcome {
        self.until(|event| match event {
            Event::Bye(outcome) => Some(outcome.clone()),
            _ => None,
        })
        .await
    }

    async fn ended(self) -> Ended {
        timeout(PATIENCE, self.task).await.unwrap().unwrap()
    }
}

async fn linked() -> (Node, Node) {
    let mut listener = node(Vec::new());
    let mut dialler = node(vec![listener.addr.clone()]);
    for node in [&mut listener, &mut dialler] {
        node.until(|event| matches!(event, Event::PeerUp { .. }).then_some(()))
            .await;
    }
    (listener, dialler)
}

#[tokio::test]
async fn messages_arrive_in_order_and_a_quit_ends_the_run() {
    let (mut listener, mut dialler) = linked().await;
    for batch in 0..20 {
        dialler
            .order(
                (0..500)
                    .map(|i| said(&format!("{}", batch * 500 + i)))
                    .collect(),
            )
            .await;
    }
    dialler.order(vec![request(Command::Quit)]).await;
    let counters = std::sync::Arc::clone(&dialler.channels.counters);
    let mut done = tokio::spawn(async move {
        let outcome = dialler.bye().await;
        (outcome, dialler.ended().await)
    });
    for i in 0..10_000 {
        assert_eq!(listener.text().await, i.to_string());
    }
    let (outcome, ended) = timeout(PATIENCE, &mut done).await.unwrap().unwrap();
    assert_eq!((outcome.reason, outcome.unsatisfied), (ByeReason::Quit, 0));
    assert!(matches!(ended, Ended::Bye));
    assert_eq!(counters.untaken(), 0, "all were taken");
}

#[tokio::test]
async fn the_end_of_input_comes_after_all_input() {
    let mut node = node(Vec::new());
    let name = |i: usize| DisplayName::from_user(&format!("name {i}")).unwrap();
    for batch in 0..10 {
        node.order(
            (0..300)
                .map(|i| request(Command::Name(name(batch * 300 + i))))
                .collect(),
        )
        .await;
    }
    node.channels.control.send(Control::EndOfInput).unwrap();
    let mut count = 0;
    while count < 3000 {
        count += node
            .until(|event| matches!(event, Event::Confirmed { .. }).then_some(1))
            .await;
    }
    let newest = node.names.borrow_and_update().clone();
    assert_eq!(newest, Some(name(2999)), "goes to be saved");
    // This node has `--stay`, and ends when its output is closed.
    node.channels.control.send(Control::OutputClosed).unwrap();
    node.bye().await;
    assert!(matches!(node.ended().await, Ended::Bye));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_panic_is_taken_at_once_under_load_and_knows_what_it_loses() {
    let (mut listener, dialler) = linked().await;
    let flood = dialler.channels.ordered.clone();
    let read_ahead = std::sync::Arc::clone(&dialler.channels.read_ahead);
    let counters = std::sync::Arc::clone(&dialler.channels.counters);
    let flooded = std::sync::Arc::clone(&counters);
    let flooding = tokio::spawn(async move {
        let batch = || {
            (0..500).for_each(|_| flooded.count_parsed());
            (0..500).map(|_| said("x")).collect()
        };
        let room = || std::sync::Arc::clone(&read_ahead).acquire_many_owned(10_000);
        while flood
            .send(Waiting {
                permit: room().await.ok(),
                item: batch(),
            })
            .is_ok()
        {}
    });
    for _ in 0..2000 {
        listener.text().await;
    }
    dialler
        .channels
        .control
        .send(Control::Panic(PanicRequest::default()))
        .unwrap();
    assert!(matches!(dialler.ended().await, Ended::Panic(_)));
    assert!(counters.has_lost_any());
    flooding.await.unwrap();
    listener
        .channels
        .control
        .send(Control::Panic(PanicRequest::default()))
        .unwrap();
    let counters = std::sync::Arc::clone(&listener.channels.counters);
    assert!(matches!(listener.ended().await, Ended::Panic(_)));
    assert!(!counters.has_lost_any());
}

#[tokio::test]
async fn panic_reports_what_it_forgot() {
    let (_listener, mut dialler) = linked().await;
    // The listener's front end hands nothing over.
    dialler.order(vec![said("owed")]).await;
    dialler
        .until(|event| matches!(event, Event::Queued { .. }).then_some(()))
        .await;
    let request = PanicRequest {
        tag: Tag {
            reference: None,
            line: 7,
        },
        quit: None,
    };
    dialler
        .channels
        .control
        .send(Control::Panic(request.clone()))
        .unwrap();
    let why = dialler
        .until(|event| match event {
            Event::Done { undelivered, .. } => Some(undelivered[0].1),
            _ => None,
        })
        .await;
    assert_eq!(why, Undelivered::Panic);
    assert_eq!(dialler.bye().await.reason, ByeReason::Panic);
    let counters = std::sync::Arc::clone(&dialler.channels.counters);
    assert_eq!(dialler.ended().await, Ended::Panic(request));
    assert!(counters.has_lost_any());
}

#[tokio::test]
async fn a_front_end_that_takes_no_events_does_not_hold_up_a_panic() {
    let (mut listener, dialler) = linked().await;
    dialler
        .order((0..20_000).map(|_| said("x")).collect())
        .await;
    // The channel takes some, then none.
    listener.text().await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    listener
        .channels
        .control
        .send(Control::Panic(PanicRequest::default()))
        .unwrap();
    assert!(matches!(listener.ended().await, Ended::Panic { .. }));
}

#[tokio::test]
async fn end_is_known_while_the_last_event_waits() {
    let (mut listener, dialler) = linked().await;
    // Their answers are far more than fit into the channel.
    dialler.order((0..5000).map(|_| said("x")).collect()).await;
    for _ in 0..2000 {
        listener.text().await;
    }
    dialler.interrupts.send(15).unwrap();
    let hearing = tokio::spawn(async move {
        loop {
            listener.text().await;
        }
    });
    let over = async {
        while !dialler.channels.counters.phase.is_over() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    timeout(PATIENCE, over).await.unwrap();
    assert!(!dialler.task.is_finished(), "nobody has heard it yet");
    hearing.abort();
}

#[tokio::test]
async fn commands_wait_while_answers_are_not_taken() {
    let mut node = node(Vec::new());
    let read_ahead = std::sync::Arc::clone(&node.channels.read_ahead);
    let urgent = node.channels.urgent.clone();
    let ask = async || {
        let permit = std::sync::Arc::clone(&read_ahead).acquire_many_owned(32);
        let waiting = Waiting {
            item: request(Command::Whoami),
            permit: permit.await.ok(),
        };
        assert!(urgent.send(waiting).is_ok());
    };
    let all = async {
        for _ in 0..1_000_000 {
            ask().await;
        }
    };
    assert!(
        timeout(Duration::from_secs(2), all).await.is_err(),
        "all were taken"
    );
    // They are answered once the front end takes the answers.
    let mut more = std::pin::pin!(ask());
    for _ in 0..40_000 {
        node.until(|event| matches!(event, Event::Whoami { .. }).then_some(()))
            .await;
        if timeout(Duration::ZERO, more.as_mut()).await.is_ok() {
            return;
        }
    }
    panic!("none is taken any more");
}

#[tokio::test]
async fn one_signal_ends_the_run_and_a_second_one_at_once() {
    let mut node = node(Vec::new());
    let counters = std::sync::Arc::clone(&node.channels.counters);
    node.interrupts.send(15).unwrap();
    assert_eq!(node.bye().await.reason, ByeReason::Signal);
    assert_eq!(counters.signal(), Some(15));
    assert!(matches!(node.ended().await, Ended::Bye));

    // A message that no peer can take keeps the other waiting.
    let (listener, mut dialler) = linked().await;
    dialler.order(vec![said("x")]).await;
    dialler
        .until(|event| matches!(event, Event::Queued { .. }).then_some(()))
        .await;
    for signal in [1, 2] {
        dialler.interrupts.send(signal).unwrap();
    }
    let counters = std::sync::Arc::clone(&dialler.channels.counters);
    assert_eq!(dialler.ended().await, Ended::Killed, "at once");
    assert_eq!(counters.undelivered(), 1);
    assert_eq!(
        counters.status().code(),
        3,
        "it was taken, and nobody had it"
    );
    assert_eq!(counters.signal(), Some(2));
    drop(listener);
}

#[tokio::test]
async fn a_front_end_that_is_gone_ends_the_run() {
    let mut node = node(Vec::new());
    let (_, events) = mpsc::channel(1);
    drop(std::mem::replace(&mut node.channels.events, events));
    node.notices.send((0, "something to tell".into())).unwrap();
    assert!(matches!(node.ended().await, Ended::Bye));
}
