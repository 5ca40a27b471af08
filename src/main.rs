//! Harden, parse, run, exit. All else is in the library.

use std::process::ExitCode;

use sesame::cli::{self, Stop, side};
use sesame::config::{self, Environment};
use sesame::exit::Failure;
use sesame::front;
use sesame::node;
use sesame::secret::alloc::Wiping;
use sesame::sys::arguments::{self, ScrubbedArguments};
use sesame::sys::{Hardening, harden, reexec, sandbox};

#[global_allocator]
static ALLOCATOR: Wiping = Wiping;

fn main() -> ExitCode {
    // The order matters: no file is read or opened, and no thread started, before these.
    reexec::keep_place();
    let hardening = harden::harden();
    front::install_panic_hook();
    if let Some(inherited) = reexec::take() {
        return node::resume(inherited, hardening);
    }
    let arguments = arguments::scrub_phrase();
    match start(arguments, hardening) {
        Ok(code) => code,
        Err(failure) => node::leave(failure.report().code()),
    }
}

fn start(arguments: ScrubbedArguments, hardening: Hardening) -> Result<ExitCode, Failure> {
    let cli = match cli::parse(arguments.args) {
        Ok(cli) => cli,
        Err(Stop::Print(text)) => {
            stdout_is_open()?;
            return side::print(text.as_bytes()).map(|()| ExitCode::SUCCESS);
        }
        Err(Stop::Failure(failure)) => return Err(failure),
    };
    if let Some(command) = &cli.command {
        stdout_is_open()?;
        return side::run(command).map(|()| ExitCode::SUCCESS);
    }
    let mut plan = config::plan(cli, arguments.phrase, &Environment::of_this_process())?;
    stdout_is_open()?;
    plan.warnings.extend(arguments.failure);
    plan.warnings.extend(hardening.failed);
    node::reserve(&plan.config)?;
    let listeners = match plan.asks_on_terminal() {
        true => Some(node::listen(&plan.config)?),
        false => None,
    };
    let readable = node::find_tor(&mut plan.config)?;
    let (config, phrase) = plan.fulfil()?;
    // The whole configuration has been read, and no thread runs yet.
    let reserved = reexec::reserve();
    let reach = config.saved_name.prepare();
    let sandbox = sandbox::enter(reach, readable, reserved.program);
    let diagnostics = [
        hardening.done,
        reserved.failed,
        sandbox.done,
        sandbox.failed,
    ]
    .concat();
    Ok(node::run(config, phrase, listeners, diagnostics))
}

/// With stdout closed, lines written to /dev/null would count as read, and be acknowledged.
fn stdout_is_open() -> Result<(), Failure> {
    if harden::stdout_was_closed() {
        return Err(Failure::runtime(
            "cannot write to stdout: it is closed",
            "use >/dev/null to discard the output",
        ));
    }
    Ok(())
}
