//! Violations of the protocol.

/// What a peer did that makes a cell a fault (section 13): this end closes the connection and sends
/// nothing more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("protocol fault: {}", self.what())]
pub enum Fault {
    /// It sent a handshake message before its turn.
    SentOutOfTurn,
    /// It sent this end's own message back.
    Echoed,
    /// It sent a CPace share that is no point of the group.
    InvalidShare,
    /// It opened its commitment to a value other than the one it had committed to.
    OtherOpening,
    /// It ended a frame within a field.
    CutField,
    /// It sent a host name that is not UTF-8.
    HostNotText,
    /// It sent an invalid host name.
    InvalidHost,
    /// It sent an address of a kind that does not exist.
    UnknownAddressKind,
    /// It sent an address with port 0.
    PortZero,
    /// It said in HELLO that it had heard what was never sent.
    HeardUnsent,
    /// It acknowledged what was never sent.
    AcknowledgedUnsent,
    /// It set bytes of a cell's header that are reserved.
    ReservedBytesSet,
    /// It forgot everything again before its earlier messages were taken.
    ForgotAgain,
    /// It left out the number of a message.
    SkippedMessage,
    /// It sent a fragment that does not follow the one before.
    MisplacedFragment,
    /// It sent a message longer than one may be.
    TooLongMessage,
    /// It sent a message that is not UTF-8.
    MessageNotText,
    /// It sent more messages than the window holds.
    OverfilledWindow,
    /// It withdrew all message numbers that there are.
    WithdrewEverything,
    /// It withdrew fewer messages than it had sent.
    WithdrewTooLittle,
    /// It sent a key with which Diffie-Hellman gives zero.
    ZeroSecret,
    /// It sent a cell whose tag does not verify.
    WrongTag,
    /// It sent a display name longer than 128 bytes.
    TooLongName,
    /// It sent a HELLO of another version.
    OtherVersion,
    /// It announced an interval out of bounds.
    IntervalOutOfBounds,
    /// It sent a link_seq or oldest_live that cannot be.
    ImpossibleLinkSeq,
    /// It sent a session_id of zero.
    SessionIdZero,
    /// It advertised an invalid address.
    InvalidAdvertised,
    /// It sent an unknown kind of listening in HELLO.
    UnknownListening,
    /// It sent a MESSAGE with number 0 or unknown flags.
    InvalidMessageHeader,
    /// It sent a fragment without text.
    EmptyFragment,
    /// It sent a PEERS entry of an unknown kind.
    UnknownGossip,
    /// It sent padding that is not zero.
    PaddingNotZero,
    /// It sent a frame longer than one may be.
    TooLongFrame,
    /// It sent a GOODBYE of an unknown kind.
    UnknownGoodbye,
    /// It used up a chain of the ratchet.
    UsedUpChain,
    /// It sent a cell of an epoch other than the one that was due.
    WrongEpoch,
    /// It sent a cell out of order.
    CellOutOfOrder,
    /// It made a step of the ratchet out of turn.
    StepOutOfTurn,
    /// It made a step of the ratchet with a wrong header.
    StepWithWrongHeader,
    /// It made a step of the ratchet before its first turn.
    StepTooEarly,
    /// It sent a first cell that is not padding.
    FirstCellNotPadding,
    /// It sent a second HELLO.
    SecondHello,
    /// It sent HELLO before this end had proven itself.
    HelloToUnproven,
    /// It sent a frame before HELLO.
    FrameBeforeHello,
    /// It sent a frame about a circuit, or a field of HELLO, with a value that does not exist.
    InvalidCircuit,
    /// It gave a new circuit a number that is not its next one.
    CircuitOutOfTurn,
    /// It asked for a circuit over a circuit.
    CircuitOverCircuit,
    /// It asked for more circuits than it may.
    TooManyCircuits,
    /// It sent more of a circuit's stream than it had credit for.
    CircuitWithoutCredit,
    /// It gave credit for what was never sent.
    CreditNeverTaken,
    /// It sent OBSERVED or LOCAL to an end that does not exchange such addresses, or LOCAL without
    /// doing so itself.
    UnaskedLocal,
    /// It sent a LOCAL with no address, more than two, or one without an IP address.
    InvalidLocal,
    /// It sent a KEM frame without content, or of an unknown kind.
    InvalidKem,
    /// It sent a KEM frame that is not the next one of the exchange, or without knowing epochs.
    KemOutOfTurn,
    /// It sent an encapsulation key that FIPS 203 does not allow.
    InvalidKemKey,
}

impl Fault {
    fn what(self) -> &'static str {
        match self {
            Self::SentOutOfTurn => "a message out of turn",
            Self::Echoed => "an echo",
            Self::InvalidShare => "a CPace share that is none",
            Self::OtherOpening => "an opening that does not fit its commitment",
            Self::CutField => "a field runs past the end of its frame",
            Self::HostNotText => "a host name is not text",
            Self::InvalidHost => "a host name that is none",
            Self::UnknownAddressKind => "an address of unknown kind",
            Self::PortZero => "port 0",
            Self::HeardUnsent => "a message was heard that was never sent",
            Self::AcknowledgedUnsent => "an acknowledgement of what was never sent",
            Self::ReservedBytesSet => "reserved header bytes are set",
            Self::ForgotAgain => "all forgotten again before it was taken",
            Self::SkippedMessage => "a gap between messages",
            Self::MisplacedFragment => "a fragment that does not follow",
            Self::TooLongMessage => "a message too long",
            Self::MessageNotText => "a message that is not UTF-8",
            Self::OverfilledWindow => "more messages than the window holds",
            Self::WithdrewEverything => "a withdrawal of everything there can be",
            Self::WithdrewTooLittle => "a withdrawal of less than was sent",
            Self::ZeroSecret => "a Diffie-Hellman result of zero",
            Self::WrongTag => "a tag that does not verify",
            Self::TooLongName => "a name longer than 128 bytes",
            Self::OtherVersion => "a HELLO of another version",
            Self::IntervalOutOfBounds => "an interval out of bounds",
            Self::ImpossibleLinkSeq => "an order that cannot be",
            Self::SessionIdZero => "a session_id of zero",
            Self::InvalidAdvertised => "an advertised address that is none",
            Self::UnknownListening => "an unknown way of listening",
            Self::InvalidMessageHeader => "a MESSAGE with number 0 or unknown flags",
            Self::EmptyFragment => "an empty fragment",
            Self::UnknownGossip => "gossip of an unknown kind",
            Self::PaddingNotZero => "padding that is not zero",
            Self::TooLongFrame => "a frame too long",
            Self::UnknownGoodbye => "a GOODBYE of an unknown kind",
            Self::UsedUpChain => "a chain is used up",
            Self::WrongEpoch => "an epoch that was not due",
            Self::CellOutOfOrder => "a cell out of order",
            Self::StepOutOfTurn => "a ratchet step out of turn",
            Self::StepWithWrongHeader => "a ratchet step with a wrong header",
            Self::StepTooEarly => "a ratchet step before the first turn",
            Self::FirstCellNotPadding => "a first cell that is not padding",
            Self::SecondHello => "a second HELLO",
            Self::HelloToUnproven => "a HELLO to somebody unproven",
            Self::FrameBeforeHello => "a frame before HELLO",
            Self::InvalidCircuit => "an unknown value about a circuit",
            Self::CircuitOutOfTurn => "a circuit with a wrong number",
            Self::CircuitOverCircuit => "a circuit over a circuit",
            Self::TooManyCircuits => "too many circuits asked for",
            Self::CircuitWithoutCredit => "more of a circuit than there was credit for",
            Self::CreditNeverTaken => "credit for what was never sent",
            Self::UnaskedLocal => "a local address that nobody asked for",
            Self::InvalidLocal => "local addresses that are none, or too many",
            Self::InvalidKem => "an invalid KEM frame",
            Self::KemOutOfTurn => "a KEM frame out of turn",
            Self::InvalidKemKey => "an encapsulation key that is not reduced",
        }
    }
}
