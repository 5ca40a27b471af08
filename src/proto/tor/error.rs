//! Why tor does not create an onion service.

use thiserror::Error;

/// Why tor does not create an onion service. Each is the end of a line for the user, behind the place
/// of the control port.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum TorError {
    /// Another protocol, or a reply that is too long.
    #[error("the program there does not speak tor's control protocol")]
    NotTor,
    /// It wants no authentication.
    #[error("tor lets every program control it, without a cookie or a password")]
    Open,
    /// It has no other method than COOKIE, with which a program in tor's place would get the cookie.
    #[error("this tor is too old: it does not have SAFECOOKIE")]
    NoSafeCookie,
    /// It has only a password.
    #[error("tor wants a password")]
    WantsPassword,
    /// The user has a password, and it has none.
    #[error("tor has no password")]
    HasNoPassword,
    /// The password is wrong.
    #[error("tor refused the password")]
    PasswordRefused,
    /// The path of its cookie file is not absolute, not UTF-8, or not printable.
    #[error("tor named an invalid path for its cookie file")]
    CookiePath,
    /// It could not prove that it knows the cookie.
    #[error("the program there does not know tor's cookie, and may not be tor")]
    NotProven,
    /// It refused the proof that this end knows the cookie.
    #[error("tor refused the cookie")]
    CookieRefused,
    /// It has no SOCKS port that may be used.
    #[error("tor has no SOCKS port at 127.0.0.1 or ::1")]
    NoSocks,
    /// It did not create the service: the code of its answer.
    #[error("tor did not create the onion service (error {0})")]
    NoService(u16),
    /// What it names as the service's address is none.
    #[error("tor named an invalid address for the onion service")]
    InvalidService,
}

impl TorError {
    /// One line of advice; may be empty.
    pub fn advice(&self) -> &'static str {
        match self {
            Self::NotTor | Self::InvalidService => {
                "give --onion the place of tor's ControlPort or ControlSocket"
            }
            Self::Open => "put CookieAuthentication 1 into torrc, and restart tor",
            Self::NoSafeCookie => "update tor",
            Self::WantsPassword => {
                "write --onion :PASSWORD@HOST:PORT, best in the configuration file; or put \
                 CookieAuthentication 1 into torrc"
            }
            Self::HasNoPassword => "omit the password, or set HashedControlPassword in torrc",
            Self::PasswordRefused => "see HashedControlPassword in tor's manual",
            Self::CookiePath => "set CookieAuthFile in torrc",
            Self::NotProven | Self::CookieRefused => {
                "restart tor; if that does not help, see CookieAuthFile in tor's manual"
            }
            Self::NoSocks => "put SocksPort 9050 into torrc, and restart tor",
            Self::NoService(_) => "tor's log may say why",
        }
    }
}
