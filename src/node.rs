//! Starts everything: the phrase's key, the listeners, the engine's task and a front end, joined by
//! channels; and ends it, or restarts it after a panic.
//!
//! A panic replaces the process image ([`reexec`]), and only what `handover` writes remains of the
//! old one. If that fails or is impossible, the process ends and its memory is gone with it, which
//! is what a user who panics wants most.

pub mod handover;
mod names;
mod signals;

use std::net::TcpListener;
use std::num::NonZeroU16;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use getrandom::SysRng;
use rand_core::{Rng, UnwrapErr};
use tokio::runtime::Runtime;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use zeroize::Zeroizing;

use crate::channels::{self, Control, PanicRequest};
use crate::cli::OnPanic;
use crate::config::{Config, Environment, SavedName};
use crate::exit::{self, ExitCounters, Failure};
use crate::front;
use crate::mesh::{Cover, Engine, Tag};
use crate::net::listen::BindError;
use crate::net::onion::{self, Publisher};
use crate::net::port_mapping::{self, Kept, KeptMapping};
use crate::net::run::{Ended, Run};
use crate::net::tor_control::{self, Service};
use crate::net::tor_error::{self, TorFailure};
use crate::net::{clock, dial, lan, listen};
use crate::proto::{Address, DEFAULT_PORT, Identity, Proxy, phrase};
use crate::secret::Secret;
use crate::secret::arena::{self, LockState, Work, lock_state};
use crate::sys::reexec::{self, Inherited};
use crate::sys::{Hardening, console, limits, reason, socket};
use handover::Handover;
use names::Names;
use signals::Signals;

pub use signals::leave;

/// The number of threads for sockets and the engine. A second one would be woken each time that
/// cells arrive on several links at once, which costs more than the work it could take over.
const WORKERS: usize = 1;

/// The most threads for calls that block: resolving names, and saving this user's own.
const BLOCKING: usize = dial::LOOK_UPS[0] + dial::LOOK_UPS[1] + 1;

/// How long the end of a run waits for a name that is being saved.
const SAVING: Duration = Duration::from_secs(2);

/// The warning about what a panic could not prevent.
const OPENED: &str = "while /panic replaced the program, other processes of this user \
                      could have read the key of the passphrase";

/// The notice about `--cover off`, shown once.
const COVER_OFF: &str = "--cover off: on links where both ends chose it, an observer sees \
                         when and how much you write";

/// How long a panic that goes on waits for tor, before it goes on without an onion service.
const TOR_AFTER_PANIC: Duration = Duration::from_secs(2);

/// The diagnostic about a proxy that cannot keep connections apart.
const SAME_USER: &str = "--proxy names a user, so all connections go to the proxy under that name: \
                         it is not asked to keep them apart";

/// Runs a node until its end, with these listeners if they are open by now. `diagnostics` are shown
/// with `-v`.
pub fn run(
    config: Config,
    phrase: Zeroizing<String>,
    listeners: Option<OpenListeners>,
    diagnostics: Vec<String>,
) -> ExitCode {
    let place = config.saved_name.clone();
    match Node::open(config, phrase, listeners, diagnostics) {
        Ok((node, begin)) => node.run(begin),
        Err(failure) => {
            forget_name_after_panic(&place);
            leave(failure.report().code())
        }
    }
}

/// For a failure before the session: nothing else would act on a panic requested by now.
fn forget_name_after_panic(place: &SavedName) {
    if signals::panic_is_pending() {
        tell(&place.delete().err().unwrap_or_default());
    }
}

/// The listeners of a run that has not begun. Connections wait in the kernel's queue.
#[derive(Default)]
pub struct OpenListeners {
    listeners: Vec<TcpListener>,
    /// That another port than the default one was chosen.
    notice: Option<String>,
}

/// Opens the listeners, so that a port in use is reported before the user types a passphrase.
///
/// # Errors
/// The port or the address cannot be had.
pub fn listen(config: &Config) -> Result<OpenListeners, Failure> {
    open_listeners(config).inspect_err(|_| forget_name_after_panic(&config.saved_name))
}

/// Asks the tor of an onion service for its SOCKS port, through which the run dials, so that a tor that
/// cannot be used is reported before the user types a passphrase. Returns the folder of tor's cookie
/// file, which has to stay readable. Starts no thread.
///
/// # Errors
/// Tor cannot be used.
pub fn find_tor(config: &mut Config) -> Result<Vec<PathBuf>, Failure> {
    let Some(control) = &config.onion else {
        return Ok(Vec::new());
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(cannot_start)?;
    let found = runtime.block_on(tor_control::find(control));
    let found = found
        .map_err(|failure| tor_fails(&failure))
        .inspect_err(|_| forget_name_after_panic(&config.saved_name))?;
    config.onion = Some(Arc::new(found.control));
    config.proxy = Some(Arc::new(Proxy::at(found.socks)));
    // Tor writes a new file at each of its starts, so the folder has to be readable.
    let private = Environment::of_this_process().private_folders();
    let is_wide = |folder: &Path| private.iter().any(|private| private.starts_with(folder));
    let readable = found.cookie.map(|cookie| match cookie.parent() {
        Some(folder) if folder.parent().is_some() && !is_wide(folder) => folder.to_path_buf(),
        // Neither everything that there is, nor what is the user's own.
        _ => cookie,
    });
    Ok(readable.into_iter().collect())
}

fn tor_fails(failure: &TorFailure) -> Failure {
    Failure::runtime(failure.to_string(), failure.advice())
}

fn cannot_start(error: std::io::Error) -> Failure {
    Failure::runtime(format!("cannot start: {}", reason(&error)), "")
}

/// Reserves memory for keys. Call it before there are any.
///
/// # Errors
/// The memory cannot be locked, and the run requires it.
pub fn reserve(config: &Config) -> Result<(), Failure> {
    match lock_state() {
        LockState::Unlocked { error } if config.require_mlock => Err(not_locked(error)),
        // If locking is not required, the session reports the failure.
        _ => Ok(()),
    }
}

fn not_locked(why: String) -> Failure {
    Failure::runtime(why, "omit --require-mlock to run anyway")
}

/// Continues after a panic, with what [`reexec::take`] returned.
pub fn resume(inherited: Inherited, hardening: Hardening) -> ExitCode {
    let Inherited { state, listeners } = inherited;
    let handover = Handover::read(&state);
    // The key is in locked memory by now. This copy is not, and a session is long.
    drop(state);
    match handover.and_then(|handover| Node::inherit(handover, listeners, hardening)) {
        Some((node, begin)) => match reserve(&node.config) {
            Ok(()) => node.run(begin),
            Err(failure) => leave(failure.report().code()),
        },
        None => {
            let failure = Failure::runtime(
                "cannot continue after /panic: cannot read what it handed over",
                "start sesame again",
            );
            failure.report().into()
        }
    }
}

/// What stays the same throughout a process.
struct Node {
    config: Config,
    key: Secret<32>,
    listeners: Vec<TcpListener>,
}

/// The state from which a session begins.
#[derive(Default)]
struct Begin {
    /// Complete lines of input that the previous session had read and not parsed.
    unread: Zeroizing<Vec<u8>>,
    /// Whether it had read the beginning of another line.
    line_begun: bool,
    /// Whether it had read no input at all.
    at_start: bool,
    /// Whether it left an unfinished line on stdout.
    line_open: bool,
    /// Whether a previous session left messages undelivered.
    undelivered: bool,
    /// What asked for the panic, if there was one.
    after_panic: Option<Tag>,
    /// The port that the router has forwarded until then.
    mapping: Option<Kept>,
    /// Notices for the user.
    notices: Vec<String>,
    /// Diagnostics, shown with `-v`.
    diagnostics: Vec<String>,
}

impl Node {
    fn open(
        config: Config,
        phrase: Zeroizing<String>,
        listeners: Option<OpenListeners>,
        diagnostics: Vec<String>,
    ) -> Result<(Self, Begin), Failure> {
        let decoy = config.settings.decoy;
        let shown = front::DerivationNotice::show(&config.frontend);
        let deriving = thread::Builder::new()
            .name("sesame-phrase".into())
            .spawn(move || derive(&phrase, decoy))
            .map_err(|error| no_key(&error))?;
        let mut begin = Begin {
            diagnostics,
            ..Begin::default()
        };
        let opened = match listeners {
            Some(opened) => Ok(opened),
            None => open_listeners(&config),
        };
        let key = deriving
            .join()
            .map_err(|_| no_key(&"its thread failed"))??;
        drop(shown);
        let OpenListeners { listeners, notice } = opened?;
        begin.notices.extend(notice);
        if config.settings.cover == Cover::Off {
            begin.notices.push(COVER_OFF.into());
        }
        let proxy = config.proxy.as_ref();
        if proxy.is_some_and(|proxy| proxy.credentials().is_some()) {
            begin.diagnostics.push(SAME_USER.into());
        }
        Ok((
            Self {
                config,
                key,
                listeners,
            },
            begin,
        ))
    }

    fn inherit(
        handover: Handover,
        listeners: Vec<TcpListener>,
        hardening: Hardening,
    ) -> Option<(Self, Begin)> {
        let here = Environment::of_this_process();
        let config = Config::after_panic(&handover.options, &here).ok()?;
        let left = handover.name_left;
        if !left.is_empty() {
            // A name that was being saved is complete by now. A failure to delete it was reported
            // before.
            let _ = config.saved_name.delete();
        }
        let notices = match config.frontend.mode {
            // The terminal is about to be cleared.
            front::Mode::Chat => left,
            front::Mode::Plain | front::Mode::Json => {
                tell(&left);
                Vec::new()
            }
        };
        let opened = hardening.was_open.then(|| OPENED.to_string());
        let begin = Begin {
            unread: handover.unread,
            line_begun: handover.line_begun,
            at_start: handover.at_start,
            line_open: handover.line_open,
            undelivered: handover.undelivered,
            after_panic: Some(Tag {
                reference: handover.reference,
                line: 0,
            }),
            mapping: handover.mapping,
            notices,
            diagnostics: [hardening.failed, opened.into_iter().collect()].concat(),
        };
        Some((
            Self {
                config,
                key: handover.key,
                listeners,
            },
            begin,
        ))
    }

    fn run(self, begin: Begin) -> ExitCode {
        leave(self.session(begin).unwrap_or_else(|failure| {
            forget_name_after_panic(&self.config.saved_name);
            front::restore_terminal();
            failure.report().code()
        }))
    }

    /// Runs a session and returns the exit status.
    fn session(&self, mut begin: Begin) -> Result<u8, Failure> {
        let failed = cannot_start;
        limits::raise_descriptors();
        if self.config.frontend.editor {
            // Before any thread starts; the editor has a thread that takes them.
            console::hold_events().map_err(failed)?;
        }
        let runtime = runtime().map_err(failed)?;
        let entered = runtime.enter();
        let mut settings = self.config.settings.clone();
        settings.listen_port = self.listeners.iter().find_map(port_of);
        let onion = self.open_onion(&runtime, &mut begin)?;
        if let Some(Onion { service, .. }) = &onion {
            settings.advertise = service.as_ref().map(|service| service.id().address());
        }
        let identity = Identity::generate(&mut UnwrapErr(SysRng));
        let key = Secret::fill_with(|bytes| bytes.copy_from_slice(self.key.expose()));
        let name = settings.name.clone();
        let advertise = settings.advertise.clone();
        let now = clock::now();
        let engine = Engine::new(settings, key, identity, Box::new(UnwrapErr(SysRng)), now);

        let (frontend, channels, control) = channels::channels();
        let counters = Arc::clone(&channels.counters);
        if begin.undelivered {
            counters.count_lost();
        }
        let (notices, notices_out) = mpsc::unbounded_channel();
        for text in begin.notices {
            let _ = notices.send((0, text));
        }
        for text in begin.diagnostics {
            let _ = notices.send((1, text));
        }
        self.watch_locks(&notices, begin.after_panic.is_some());
        let names = Names::new(self.config.saved_name.clone());
        let (named, saving) = names.start(notices.clone());
        let (addresses_in, addresses) = mpsc::unbounded_channel();
        let heard = self.hear_neighbours(&notices);
        let mapping = self.map_port(begin.mapping, &notices, &addresses_in);
        let (onion_listener, kept) = match onion {
            Some(onion) => {
                let Onion {
                    listener,
                    publisher,
                    service,
                } = onion;
                let kept = publisher.keep(service, notices, addresses_in);
                (Some(listener), Some(kept))
            }
            None => (None, None),
        };
        let ready = front::Ready {
            version: env!("CARGO_PKG_VERSION"),
            id: engine.id(),
            listen: self
                .listeners
                .iter()
                .filter_map(|listener| listener.local_addr().ok())
                .collect(),
            advertise,
            name,
            decoy: self.config.settings.decoy,
            after_panic: begin.after_panic,
        };
        let before = front::UnreadInput {
            lines: std::mem::take(&mut *begin.unread),
            begun: begin.line_begun,
            lost_message: false,
            at_start: begin.at_start,
        };
        let mut front = front::start(
            self.config.frontend.clone(),
            ready,
            frontend,
            before,
            begin.line_open,
        );
        let (signals, interrupts) =
            Signals::start(control, Arc::clone(&names), Arc::clone(&counters)).map_err(failed)?;
        let run = Run {
            engine,
            channels,
            proxy: self.config.proxy.clone(),
            onion_listener,
            addresses,
            heard,
            listeners: self
                .listeners
                .iter()
                .map(socket::duplicate)
                .collect::<Result<_, _>>()
                .map_err(failed)?,
            inactivity: self.config.settings.inactivity,
            interrupts,
            notices: notices_out,
            names: named,
        };
        // Spawned, and not run by this thread, which would be woken through the kernel each time.
        let run = runtime.block_on(runtime.spawn(run.run()));
        // The panic hook has printed the place of a panic; its message could contain a user's text.
        let died = |_| Failure::runtime("internal error", "start sesame again");
        let (ended, mut channels) = run.map_err(died)?.map_err(failed)?;
        match ended {
            Ended::Bye => {
                // Signals still end the process if stdout takes nothing.
                signals.ending();
                let panics = LatePanics::watch(&runtime, channels.control, Arc::clone(&names));
                if let Some(kept) = kept {
                    runtime.block_on(kept.withdraw());
                }
                self.end_mapping(mapping, &runtime);
                let code = front.join();
                let _ = runtime.block_on(async { tokio::time::timeout(SAVING, saving).await });
                panics.stop(&runtime);
                last_look(signals, &front, &names);
                drop(entered);
                runtime.shutdown_background();
                Ok(code)
            }
            Ended::Killed => {
                last_look(signals, &front, &names);
                if has_panic(&mut channels.control) {
                    tell(&names.forget());
                }
                // A front end that found its channels closed would report that.
                std::mem::forget(channels);
                front.remove_line();
                front::restore_terminal();
                drop(entered);
                runtime.shutdown_background();
                exit::tell_undelivered(&counters);
                Ok(counters.status().code())
            }
            Ended::Panic(request) => {
                // First, so that the name is gone whatever ends the process from here on.
                let left = names.forget();
                // Signals from here on wait for the new image, and so does an earlier one that
                // asked for the end.
                let end = signals.stop().end;
                let frozen = front.freeze();
                if frozen.input.lost_message {
                    counters.count_lost();
                }
                if self.ends_with(&request, &counters, end) {
                    arena::wipe_all();
                    self.end_mapping(mapping, &runtime);
                    counters.end_by_panic();
                    counters.end_by(end.unwrap_or(0));
                    let status = counters.status().code();
                    tell(&left);
                    front.end_after_panic(&frozen, status);
                    std::mem::forget(channels);
                    drop(entered);
                    runtime.shutdown_background();
                    return Ok(status);
                }
                if let Some(end) = end {
                    signals::leave_pending(end);
                }
                let state = Handover::write(&handover::Parts {
                    key: &self.key,
                    options: &self.config.carried(),
                    unread: &frozen.input.lines,
                    line_begun: frozen.input.begun,
                    at_start: frozen.input.at_start,
                    line_open: frozen.line_open,
                    // Read after the input has stopped.
                    undelivered: counters.has_lost_any(),
                    name_left: &left,
                    reference: request.tag.reference.as_ref(),
                    mapping: mapping.as_ref().map(KeptMapping::kept),
                });
                let why = reexec::restart(&state, &self.listeners, arena::wipe_all);
                // Only now, because panics requested meanwhile are part of this one.
                std::mem::forget(channels);
                drop(entered);
                runtime.shutdown_background();
                let what = format!("cannot continue after /panic: {}", reason(&why));
                Err(Failure::runtime(what, "start sesame again"))
            }
        }
    }

    /// Opens the listener of the onion service and creates the service, if the run has one. After a
    /// panic the run goes on without the service until tor can be used.
    fn open_onion(&self, runtime: &Runtime, begin: &mut Begin) -> Result<Option<Onion>, Failure> {
        let Some(control) = &self.config.onion else {
            return Ok(None);
        };
        // Without its SOCKS port, everything would be dialled from here.
        let Some(proxy) = &self.config.proxy else {
            return Err(Failure::runtime("internal error", "start sesame again"));
        };
        let opened = onion::listen();
        let (listener, port) =
            opened.map_err(|error| Failure::runtime(error.to_string(), error.advice()))?;
        let publisher = Publisher::new(Arc::clone(control), proxy.servers(), port);
        let limit = match begin.after_panic {
            None => tor_error::LIMIT,
            Some(_) => TOR_AFTER_PANIC,
        };
        let service = match runtime.block_on(publisher.publish(limit)) {
            Ok(service) => {
                begin.notices.push(created(&service));
                Some(service)
            }
            Err(failure) if begin.after_panic.is_some() => {
                begin.notices.push(failure.to_string());
                None
            }
            Err(failure) => return Err(tor_fails(&failure)),
        };
        Ok(Some(Onion {
            listener,
            publisher,
            service,
        }))
    }

    /// Has the router forward the port, if the run wants that and listens. To be called within a runtime.
    fn map_port(
        &self,
        kept: Option<Kept>,
        notices: &mpsc::UnboundedSender<(u8, String)>,
        addresses: &mpsc::UnboundedSender<Option<Address>>,
    ) -> Option<KeptMapping> {
        let port = self.listeners.iter().find_map(port_of);
        let port = NonZeroU16::new(port.filter(|_| self.config.map)?)?;
        let kept = kept.unwrap_or_else(|| Kept {
            nonce: std::array::from_fn(|_| UnwrapErr(SysRng).next_u32()),
            held: None,
        });
        // The address of the user's own choice stays.
        let own = self.config.settings.advertise.is_some();
        let addresses = (!own).then(|| addresses.clone());
        Some(port_mapping::keep(port, kept, notices.clone(), addresses))
    }

    /// Begins to send and hear beacons, if the run wants that. To be called within a runtime.
    fn hear_neighbours(
        &self,
        notices: &mpsc::UnboundedSender<(u8, String)>,
    ) -> mpsc::Receiver<lan::Heard> {
        let (heard, receiver) = mpsc::channel(lan::WAITING);
        if self.config.settings.lan {
            let listens = self.config.listen.as_ref();
            let port = self.listeners.iter().find_map(port_of);
            let announced = lan::Announced {
                port: port.and_then(NonZeroU16::new),
                only: listens.and_then(|listen| listen.addr.as_ref()?.ip()),
            };
            lan::start(announced, heard, notices);
        }
        receiver
    }

    /// Has the router end the mapping, and reports if it does not confirm that.
    fn end_mapping(&self, mapping: Option<KeptMapping>, runtime: &Runtime) {
        let left = mapping.and_then(|mapping| runtime.block_on(mapping.withdraw()));
        if let Some(line) = left.filter(|_| self.config.frontend.verbosity.shows(0)) {
            exit::say(line);
        }
    }

    /// Whether a panic ends the run: its own command said so, or another command asked for the end.
    /// A signal that asked for the end does so in the new image.
    fn ends_with(
        &self,
        request: &PanicRequest,
        counters: &ExitCounters,
        signal: Option<i32>,
    ) -> bool {
        let by_option = self.config.on_panic == OnPanic::Quit;
        request.quit.unwrap_or(by_option) || (signal.is_none() && counters.phase.is_ending())
    }

    /// Reports when memory for keys cannot be locked, or ends the process if the run requires it.
    fn watch_locks(&self, notices: &mpsc::UnboundedSender<(u8, String)>, after_panic: bool) {
        if self.config.require_mlock {
            arena::on_unlocked(|why| {
                front::restore_terminal();
                let status = not_locked(why).report();
                std::process::exit(status.code().into());
            });
        } else {
            // After a panic the user has already seen this warning.
            let level = u8::from(after_panic);
            let notices = notices.clone();
            arena::on_unlocked(move |why| drop(notices.send((level, why))));
        }
    }
}

/// The onion service of a session that begins.
struct Onion {
    listener: TcpListener,
    publisher: Publisher,
    /// `None`: tor could not be used at once.
    service: Option<Service>,
}

/// What tor's success means: it has not told anybody yet that the service is there.
fn created(service: &Service) -> String {
    let address = service.id().address();
    format!("tor has created the onion service {address}; it takes seconds until others reach it")
}

/// Before the process ends: acts on a panic that came too late for the session.
fn last_look(signals: Signals, front: &front::Handle, names: &Names) {
    let in_input = front.holds_panic();
    if signals.stop().panic || in_input || signals::panic_is_pending() {
        tell(&names.forget());
        front::clear_terminal();
    }
}

fn has_panic(control: &mut mpsc::UnboundedReceiver<Control>) -> bool {
    std::iter::from_fn(|| control.try_recv().ok()).any(|c| matches!(c, Control::Panic(_)))
}

/// Acts on panics by command or key that come after the session, while its last output is being
/// written.
struct LatePanics {
    stop: oneshot::Sender<()>,
    watching: JoinHandle<()>,
}

impl LatePanics {
    fn watch(
        runtime: &Runtime,
        mut control: mpsc::UnboundedReceiver<Control>,
        names: Arc<Names>,
    ) -> Self {
        let (stop, mut stopped) = oneshot::channel();
        let watching = runtime.spawn(async move {
            loop {
                let late = tokio::select! {
                    biased;
                    control = control.recv() => control,
                    _ = &mut stopped => break,
                };
                match late {
                    Some(Control::Panic(_)) => {
                        names.forget();
                        signals::panic();
                    }
                    Some(_) => {}
                    None => break,
                }
            }
        });
        Self { stop, watching }
    }

    /// To be called before the process ends: acts first on what was requested until now.
    fn stop(self, runtime: &Runtime) {
        let _ = self.stop.send(());
        let _ = runtime.block_on(self.watching);
    }
}

fn runtime() -> std::io::Result<Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(WORKERS)
        .max_blocking_threads(BLOCKING)
        .thread_name(front::RUNTIME_THREAD)
        .enable_all()
        .build()
}

fn derive(phrase: &str, decoy: bool) -> Result<Secret<32>, Failure> {
    let work = Work::new(phrase::WORK_BLOCKS).map_err(|error| no_key(&error))?;
    phrase::derive(phrase, decoy, work).map_err(|error| no_key(&error))
}

fn no_key(why: &dyn std::fmt::Display) -> Failure {
    Failure::runtime(
        format!("cannot derive the key from the passphrase: {why}"),
        "this needs 64 MiB of memory for a moment",
    )
}

fn open_listeners(config: &Config) -> Result<OpenListeners, Failure> {
    let refused = |error: BindError| Failure::runtime(error.to_string(), error.advice());
    let Some(wanted) = &config.listen else {
        return Ok(OpenListeners::default());
    };
    let everywhere = match wanted.loopback_only {
        true => listen::LOOPBACK,
        false => listen::EVERYWHERE,
    };
    let bind = |port| listen::bind_host(wanted.addr.as_ref(), everywhere, port);
    match bind(wanted.port) {
        Err(BindError::Taken(taken)) if wanted.or_any_port => {
            let listeners = bind(0).map_err(refused)?;
            let port = listeners.iter().find_map(port_of).unwrap_or(DEFAULT_PORT);
            let notice = format!("another program uses port {taken}: listening on port {port}");
            Ok(OpenListeners {
                listeners,
                notice: Some(notice),
            })
        }
        result => Ok(OpenListeners {
            listeners: result.map_err(refused)?,
            notice: None,
        }),
    }
}

fn port_of(listener: &TcpListener) -> Option<u16> {
    listener.local_addr().ok().map(|addr| addr.port())
}

/// Reports on stderr what a panic could not delete, in a quiet run too.
fn tell(left: &[String]) {
    for line in left {
        exit::say(line);
    }
}
