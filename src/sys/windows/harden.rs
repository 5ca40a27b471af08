//! What keeps others out of this process.
#![allow(unsafe_code)]

use std::ffi::c_void;
use std::io;
use std::ptr;

use windows_sys::Win32::Foundation::INVALID_HANDLE_VALUE;
use windows_sys::Win32::Security::{DACL_SECURITY_INFORMATION, SetKernelObjectSecurity};
use windows_sys::Win32::System::Console::{GetStdHandle, STD_OUTPUT_HANDLE};
use windows_sys::Win32::System::Diagnostics::Debug::{
    SEM_FAILCRITICALERRORS, SEM_NOGPFAULTERRORBOX, SEM_NOOPENFILEERRORBOX, SetErrorMode,
};
use windows_sys::Win32::System::ErrorReporting::{WER_FAULT_REPORTING_FLAG_NOHEAP, WerSetFlags};
use windows_sys::Win32::System::SystemServices::{
    PROCESS_MITIGATION_DYNAMIC_CODE_POLICY, PROCESS_MITIGATION_EXTENSION_POINT_DISABLE_POLICY,
    PROCESS_MITIGATION_IMAGE_LOAD_POLICY, PROCESS_MITIGATION_STRICT_HANDLE_CHECK_POLICY,
};
use windows_sys::Win32::System::Threading::{
    GetCurrentProcess, PROCESS_MITIGATION_POLICY, ProcessDynamicCodePolicy,
    ProcessExtensionPointDisablePolicy, ProcessImageLoadPolicy, ProcessStrictHandleCheckPolicy,
    SetProcessMitigationPolicy, SetProcessWorkingSetSize,
};

use super::native::checked;
use super::rights::Rights;
use super::signals;
use crate::sys::Hardening;

/// Room for keys and for Argon2's 64 MiB in the memory that may be locked, in bytes.
const WORKING_SET: [usize; 2] = [96 << 20, 256 << 20];

/// What others may do with this process. Its user, the system and administrators may end it, wait
/// for it and query it, but not read its memory: 0x101400 is SYNCHRONIZE, PROCESS_QUERY_INFORMATION
/// and PROCESS_QUERY_LIMITED_INFORMATION; 0x1 is PROCESS_TERMINATE. `OW` is the owner of the
/// process, who could otherwise always change the list.
const OTHERS: &str =
    "D:P(A;;0x101401;;;{user})(A;;0x101401;;;OW)(A;;0x101401;;;SY)(A;;0x101401;;;BA)";

/// Forbids reports of crashes with memory in them, dialogs about errors, and others' access to the
/// memory, makes room for locked memory, and takes requests to end from here on. Call it first of
/// all.
///
/// Nothing that fails here is a reason not to run; the report says it.
pub fn harden() -> Hardening {
    let mut report = Hardening::default();
    // SAFETY: the call takes flags.
    unsafe {
        SetErrorMode(SEM_FAILCRITICALERRORS | SEM_NOGPFAULTERRORBOX | SEM_NOOPENFILEERRORBOX);
    }
    // SAFETY: the call takes flags.
    let unreported = match unsafe { WerSetFlags(WER_FAULT_REPORTING_FLAG_NOHEAP) } {
        0 => Ok(()),
        code => Err(io::Error::from_raw_os_error(code)),
    };
    report.note("reports of crashes have no heap memory", unreported);
    report.note(
        "other processes of this user cannot read the memory",
        keep_others_out(),
    );
    report.note("memory for keys can be locked", make_room());
    report.note(
        "Windows loads nothing that sesame does not need",
        mitigate(),
    );
    report.note(
        "requests to end wait until sesame handles them",
        signals::block(),
    );
    report
}

/// Whether there is no standard output.
pub fn stdout_was_closed() -> bool {
    // SAFETY: the call takes a number.
    let stdout = unsafe { GetStdHandle(STD_OUTPUT_HANDLE) };
    stdout.is_null() || stdout == INVALID_HANDLE_VALUE
}

/// From here on no other process of this user can read or change the memory of this process, or
/// take handles from it.
///
/// # Errors
/// The system's.
pub(super) fn keep_others_out() -> io::Result<()> {
    let rights = Rights::of(OTHERS)?;
    // SAFETY: the list lives as long as the call.
    checked(unsafe {
        SetKernelObjectSecurity(GetCurrentProcess(), DACL_SECURITY_INFORMATION, rights.raw())
    })
}

fn make_room() -> io::Result<()> {
    let [least, most] = WORKING_SET;
    // SAFETY: the call takes sizes, for this process.
    checked(unsafe { SetProcessWorkingSetSize(GetCurrentProcess(), least, most) })
}

/// No code is made at run time, nobody else's extensions are loaded, nor programs from the network or
/// from where little trusted ones write, and a wrong handle ends the process.
fn mitigate() -> io::Result<()> {
    let mut dynamic = PROCESS_MITIGATION_DYNAMIC_CODE_POLICY::default();
    dynamic.Anonymous.Flags = 1;
    let mut extensions = PROCESS_MITIGATION_EXTENSION_POINT_DISABLE_POLICY::default();
    extensions.Anonymous.Flags = 1;
    let mut images = PROCESS_MITIGATION_IMAGE_LOAD_POLICY::default();
    images.Anonymous.Flags = 0b111;
    let mut handles = PROCESS_MITIGATION_STRICT_HANDLE_CHECK_POLICY::default();
    handles.Anonymous.Flags = 0b11;
    let results = [
        set_policy(ProcessDynamicCodePolicy, &dynamic),
        set_policy(ProcessExtensionPointDisablePolicy, &extensions),
        set_policy(ProcessImageLoadPolicy, &images),
        set_policy(ProcessStrictHandleCheckPolicy, &handles),
    ];
    results.into_iter().collect()
}

fn set_policy<T>(which: PROCESS_MITIGATION_POLICY, policy: &T) -> io::Result<()> {
    let policy: *const c_void = ptr::from_ref(policy).cast();
    // SAFETY: the struct is the one that belongs to the policy, and as long as stated.
    checked(unsafe { SetProcessMitigationPolicy(which, policy, size_of::<T>()) })
}
