//! The process that the user starts. It holds the console and the place of one process, and no
//! secrets of its own, but handles that lead to the worker's: so nobody else may open it. It starts a worker, which does everything, and after a panic another one. It knows that
//! a panic is to go on by one thing only, a complete state in the pipe from one worker to the next,
//! and it reads no more of that than how long it is, and which sockets belong to it.
#![allow(unsafe_code)]

use std::env;
use std::fs::File;
use std::io::{self, Write};
use std::os::windows::ffi::OsStrExt;
use std::os::windows::io::{AsHandle, AsRawHandle, FromRawHandle, OwnedHandle};
use std::process;
use std::ptr;
use std::thread;

use windows_sys::Win32::Foundation::{
    DuplicateHandle, HANDLE, HANDLE_FLAG_INHERIT, INVALID_HANDLE_VALUE, SetHandleInformation,
};
use windows_sys::Win32::System::Console::{
    CTRL_BREAK_EVENT, CTRL_C_EVENT, GetStdHandle, STD_ERROR_HANDLE, STD_INPUT_HANDLE,
    STD_OUTPUT_HANDLE, SetConsoleCtrlHandler,
};
use windows_sys::Win32::System::JobObjects::{
    AssignProcessToJobObject, CreateJobObjectW, JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE,
    JOBOBJECT_EXTENDED_LIMIT_INFORMATION, JobObjectExtendedLimitInformation,
    SetInformationJobObject,
};
use windows_sys::Win32::System::Pipes::{CreatePipe, PeekNamedPipe};
use windows_sys::Win32::System::Threading::{
    CREATE_SUSPENDED, CreateProcessW, DeleteProcThreadAttributeList, EXTENDED_STARTUPINFO_PRESENT,
    GetCurrentProcess, GetExitCodeProcess, INFINITE, InitializeProcThreadAttributeList,
    LPPROC_THREAD_ATTRIBUTE_LIST, PROC_THREAD_ATTRIBUTE_HANDLE_LIST, PROCESS_ACCESS_RIGHTS,
    PROCESS_DUP_HANDLE, PROCESS_INFORMATION, PROCESS_QUERY_LIMITED_INFORMATION,
    PROCESS_SYNCHRONIZE, ResumeThread, STARTF_USESTDHANDLES, STARTUPINFOEXW, TerminateProcess,
    UpdateProcThreadAttribute, WaitForSingleObject,
};
use windows_sys::core::BOOL;

use super::console::Modes;
use super::native::{checked, raw};
use super::state_pipe::{self, HEADER, MAX_STATE};
use super::{argument_list, harden};
use crate::sys::{arguments, reason};

/// To wait for a process, and to ask for its status.
const WAIT_AND_ASK: PROCESS_ACCESS_RIGHTS = PROCESS_SYNCHRONIZE | PROCESS_QUERY_LIMITED_INFORMATION;

/// Room in a pipe for a whole state.
const PIPE: u32 = (2 * MAX_STATE) as u32;

/// In the process that the user starts, keeps the place until the last worker has ended, and ends
/// with its status. Returns at once in a worker. Call it before all else.
pub fn keep_place() {
    if env::var_os(state_pipe::VARIABLE).is_some() {
        return;
    }
    let modes = Modes::of_streams().ok();
    let status = keep();
    // A worker that died could not do it.
    if let Some(modes) = modes {
        let _ = modes.set();
    }
    match status {
        Ok(status) => process::exit(status.cast_signed()),
        Err(error) => {
            let line = format!("sesame: cannot start: {}\n", reason(&error));
            let _ = io::stderr().write_all(line.as_bytes());
            process::exit(1);
        }
    }
}

/// Runs one worker after the other; the status of the last.
fn keep() -> io::Result<u32> {
    // Where this fails it fails in the worker too, which reports it.
    let _ = harden::keep_others_out();
    // SAFETY: the handler may be called by any thread at any time, and touches nothing.
    checked(unsafe { SetConsoleCtrlHandler(Some(leave_to_worker), 1) })?;
    let job = Job::new()?;
    let (mut state, mut first) = pipe()?;
    {
        let arguments = arguments::scrub_own();
        first.write_all(&state_pipe::message(&[], &state_pipe::first(&arguments)))?;
    }
    drop(first);
    // Names and addresses are not the keeper's to hold either.
    argument_list::wipe();
    let mut listeners = Vec::new();
    loop {
        let (next, next_in) = pipe()?;
        let worker = Worker::start(&job, &state, &next_in, &listeners)?;
        drop(next_in);
        listeners.clear();
        let status = worker.wait();
        match complete(&next) {
            Some(handles) => listeners = handles,
            None => return status,
        }
        state = next;
    }
}

/// All that ask for an end reach the worker too, which is in the same console.
unsafe extern "system" fn leave_to_worker(event: u32) -> BOOL {
    if !matches!(event, CTRL_C_EVENT | CTRL_BREAK_EVENT) {
        // Windows ends the process when this returns, and some seconds later in any case.
        loop {
            thread::park();
        }
    }
    1
}

/// A job, which ends all its processes when the keeper has ended.
struct Job(OwnedHandle);

impl Job {
    fn new() -> io::Result<Self> {
        let mut limits = JOBOBJECT_EXTENDED_LIMIT_INFORMATION::default();
        limits.BasicLimitInformation.LimitFlags = JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE;
        // SAFETY: no name and no attributes; the new handle has no other owner. The struct is the
        // one that belongs to the call, and as long as stated.
        unsafe {
            let job = CreateJobObjectW(ptr::null(), ptr::null());
            if job.is_null() {
                return Err(io::Error::last_os_error());
            }
            let job = OwnedHandle::from_raw_handle(job);
            checked(SetInformationJobObject(
                job.as_raw_handle(),
                JobObjectExtendedLimitInformation,
                (&raw const limits).cast(),
                size_of_val(&limits) as u32,
            ))?;
            Ok(Self(job))
        }
    }
}

/// A pipe for a state, with room for all of it. Its ends are not inherited.
fn pipe() -> io::Result<(File, File)> {
    let (mut reader, mut writer) = (ptr::null_mut(), ptr::null_mut());
    // SAFETY: the system makes two handles, which belong to nobody else.
    unsafe {
        checked(CreatePipe(
            &raw mut reader,
            &raw mut writer,
            ptr::null(),
            PIPE,
        ))?;
        Ok((File::from_raw_handle(reader), File::from_raw_handle(writer)))
    }
}

/// The listening sockets of a state that is complete in this pipe, of which nothing is taken out.
fn complete(pipe: &File) -> Option<Vec<OwnedHandle>> {
    let mut start = [0; HEADER];
    let (mut read, mut there) = (0, 0);
    // SAFETY: the system copies at most as many bytes as there is room for.
    let looked = unsafe {
        PeekNamedPipe(
            pipe.as_raw_handle(),
            start.as_mut_ptr().cast(),
            HEADER as u32,
            &raw mut read,
            &raw mut there,
            ptr::null_mut(),
        )
    };
    if looked == 0 || (read as usize) < HEADER {
        return None;
    }
    let (len, handles) = state_pipe::header(&start)?;
    if u64::from(there) != HEADER as u64 + len {
        return None;
    }
    // SAFETY: a worker made these handles for this process, and nothing else knows them.
    let own = |handle| unsafe { OwnedHandle::from_raw_handle(handle as HANDLE) };
    Some(handles.into_iter().map(own).collect())
}

/// A process that does the work.
struct Worker(OwnedHandle);

impl Worker {
    /// Starts one that inherits standard input and output, both pipes and the sockets, and nothing
    /// else.
    fn start(job: &Job, state: &File, next: &File, listeners: &[OwnedHandle]) -> io::Result<Self> {
        // By this the worker can give this process handles.
        // SAFETY: this process is open.
        let keeper = unsafe { limited(GetCurrentProcess(), PROCESS_DUP_HANDLE) }?;
        let given: Vec<HANDLE> = [state.as_handle(), next.as_handle(), keeper.as_handle()]
            .into_iter()
            .chain(listeners.iter().map(AsHandle::as_handle))
            .map(raw)
            .collect();
        let variable = given[..3]
            .iter()
            .map(|handle| (*handle as usize).to_string());
        let variable = variable.collect::<Vec<_>>().join(",");
        // SAFETY: the keeper has no other thread but those of the console's events, which do not
        // look at the environment.
        unsafe { env::set_var(state_pipe::VARIABLE, variable) };
        let streams = [STD_INPUT_HANDLE, STD_OUTPUT_HANDLE, STD_ERROR_HANDLE]
            // SAFETY: the call takes a number.
            .map(|number| unsafe { GetStdHandle(number) });
        let inherited = Inheritance::of(streams.iter().chain(&given))?;
        let path = env::current_exe()?;
        let path: Vec<u16> = path.as_os_str().encode_wide().chain([0]).collect();
        let mut line: Vec<u16> = "sesame\0".encode_utf16().collect();
        let mut start = STARTUPINFOEXW::default();
        start.StartupInfo.cb = size_of::<STARTUPINFOEXW>() as u32;
        start.StartupInfo.dwFlags = STARTF_USESTDHANDLES;
        [
            start.StartupInfo.hStdInput,
            start.StartupInfo.hStdOutput,
            start.StartupInfo.hStdError,
        ] = streams;
        start.lpAttributeList = inherited.list();
        let mut about = PROCESS_INFORMATION::default();
        // SAFETY: the strings end with null characters and outlive the call, as does all that the
        // structs lead to. The two new handles belong to nobody else.
        let (process, thread) = unsafe {
            checked(CreateProcessW(
                path.as_ptr(),
                line.as_mut_ptr(),
                ptr::null(),
                ptr::null(),
                1,
                CREATE_SUSPENDED | EXTENDED_STARTUPINFO_PRESENT,
                ptr::null(),
                ptr::null(),
                &raw const start.StartupInfo,
                &raw mut about,
            ))?;
            (
                OwnedHandle::from_raw_handle(about.hProcess),
                OwnedHandle::from_raw_handle(about.hThread),
            )
        };
        // SAFETY: all handles are open. A worker that does not belong to the job would outlive a
        // keeper that is killed.
        unsafe {
            let joined = checked(AssignProcessToJobObject(
                raw(job.0.as_handle()),
                raw(process.as_handle()),
            ));
            if let Err(error) = joined {
                TerminateProcess(raw(process.as_handle()), 1);
                return Err(error);
            }
            ResumeThread(raw(thread.as_handle()));
            limited(raw(process.as_handle()), WAIT_AND_ASK).map(Self)
        }
    }

    /// Waits for its end; its status.
    fn wait(&self) -> io::Result<u32> {
        let mut status = 0;
        // SAFETY: the handle is open, and the system fills the number.
        unsafe {
            WaitForSingleObject(raw(self.0.as_handle()), INFINITE);
            checked(GetExitCodeProcess(raw(self.0.as_handle()), &raw mut status))?;
        }
        Ok(status)
    }
}

/// Another handle of a process, by which only so much can be done.
///
/// # Safety
/// `process` is open, or the constant that stands for this process.
unsafe fn limited(process: HANDLE, access: PROCESS_ACCESS_RIGHTS) -> io::Result<OwnedHandle> {
    let mut handle = ptr::null_mut();
    // SAFETY: as the caller promises; the new handle belongs to nobody else.
    unsafe {
        let this = GetCurrentProcess();
        checked(DuplicateHandle(
            this,
            process,
            this,
            &raw mut handle,
            access,
            0,
            0,
        ))?;
        Ok(OwnedHandle::from_raw_handle(handle))
    }
}

/// The list of handles that a process inherits.
struct Inheritance {
    /// The list of attributes, in the system's own form.
    attributes: Vec<usize>,
    /// What it leads to.
    _handles: Box<[HANDLE]>,
}

impl Inheritance {
    fn of<'a>(handles: impl Iterator<Item = &'a HANDLE>) -> io::Result<Self> {
        let mut list: Vec<HANDLE> = Vec::new();
        for handle in handles {
            if handle.is_null() || *handle == INVALID_HANDLE_VALUE || list.contains(handle) {
                continue;
            }
            // SAFETY: the handle is open.
            let can_be =
                unsafe { SetHandleInformation(*handle, HANDLE_FLAG_INHERIT, HANDLE_FLAG_INHERIT) };
            if can_be != 0 {
                list.push(*handle);
            }
        }
        let handles = list.into_boxed_slice();
        let mut size = 0;
        // SAFETY: without a list, the call tells how long one is.
        unsafe { InitializeProcThreadAttributeList(ptr::null_mut(), 1, 0, &raw mut size) };
        let mut attributes = vec![0_usize; size.div_ceil(size_of::<usize>())];
        let list: LPPROC_THREAD_ATTRIBUTE_LIST = attributes.as_mut_ptr().cast();
        // SAFETY: the list is as long as was told, and the handles live as long as it.
        unsafe {
            checked(InitializeProcThreadAttributeList(list, 1, 0, &raw mut size))?;
            checked(UpdateProcThreadAttribute(
                list,
                0,
                PROC_THREAD_ATTRIBUTE_HANDLE_LIST as usize,
                handles.as_ptr().cast(),
                size_of_val::<[HANDLE]>(&handles),
                ptr::null_mut(),
                ptr::null(),
            ))?;
        }
        Ok(Self {
            attributes,
            _handles: handles,
        })
    }

    fn list(&self) -> LPPROC_THREAD_ATTRIBUTE_LIST {
        self.attributes.as_ptr().cast_mut().cast()
    }
}

impl Drop for Inheritance {
    fn drop(&mut self) {
        // SAFETY: the list was initialised, and is used no more.
        unsafe { DeleteProcThreadAttributeList(self.list()) };
    }
}
