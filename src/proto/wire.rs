//! The bounded reader and writer under every frame (PROTOCOL.md, section 8), where all lengths from
//! outside are checked.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::address::{Address, Host, MAX_NAME, valid_name};
use super::{Fault, PeerId};

/// Reads from a slice and cannot run past its end.
pub struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    /// Reads these bytes.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// Whether everything was read.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What was not read yet.
    pub fn rest(self) -> &'a [u8] {
        self.0
    }

    /// The next `n` bytes.
    ///
    /// # Errors
    /// There are fewer.
    pub fn bytes(&mut self, n: usize) -> Result<&'a [u8], Fault> {
        let (head, tail) = self.0.split_at_checked(n).ok_or(Fault::CutField)?;
        self.0 = tail;
        Ok(head)
    }

    /// The next `N` bytes as an array.
    ///
    /// # Errors
    /// There are fewer.
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], Fault> {
        let (head, tail) = self.0.split_first_chunk().ok_or(Fault::CutField)?;
        self.0 = tail;
        Ok(*head)
    }

    /// The next byte.
    ///
    /// # Errors
    /// There is none.
    pub fn u8(&mut self) -> Result<u8, Fault> {
        Ok(self.array::<1>()?[0])
    }

    /// The next two bytes.
    ///
    /// # Errors
    /// There are fewer.
    pub fn u16(&mut self) -> Result<u16, Fault> {
        Ok(u16::from_be_bytes(self.array()?))
    }

    /// The next four bytes.
    ///
    /// # Errors
    /// There are fewer.
    pub fn u32(&mut self) -> Result<u32, Fault> {
        Ok(u32::from_be_bytes(self.array()?))
    }

    /// The next eight bytes.
    ///
    /// # Errors
    /// There are fewer.
    pub fn u64(&mut self) -> Result<u64, Fault> {
        Ok(u64::from_be_bytes(self.array()?))
    }

    /// A PeerId.
    ///
    /// # Errors
    /// There are fewer than 32 bytes.
    pub fn peer_id(&mut self) -> Result<PeerId, Fault> {
        Ok(PeerId(self.array()?))
    }

    /// An IP address with its kind and without a port.
    ///
    /// # Errors
    /// Another kind, or too few bytes.
    pub fn ip(&mut self) -> Result<IpAddr, Fault> {
        match self.u8()? {
            4 => self.ipv4(),
            6 => self.ipv6(),
            _ => Err(Fault::UnknownAddressKind),
        }
    }

    fn ipv4(&mut self) -> Result<IpAddr, Fault> {
        Ok(Ipv4Addr::from(self.array::<4>()?).into())
    }

    /// IPv4 within IPv6 means that IPv4 address.
    fn ipv6(&mut self) -> Result<IpAddr, Fault> {
        Ok(IpAddr::from(Ipv6Addr::from(self.array::<16>()?)).to_canonical())
    }

    /// An address, or none.
    ///
    /// # Errors
    /// An unknown kind, an invalid name, port 0, or too few bytes.
    pub fn address(&mut self) -> Result<Option<Address>, Fault> {
        let host = match self.u8()? {
            0 => return Ok(None),
            4 => Host::Ip(self.ipv4()?),
            6 => Host::Ip(self.ipv6()?),
            1 => {
                let length = self.u8()?.into();
                let name =
                    std::str::from_utf8(self.bytes(length)?).map_err(|_| Fault::HostNotText)?;
                if valid_name(name).as_deref() != Some(name) {
                    return Err(Fault::InvalidHost);
                }
                Host::Name(name.to_owned())
            }
            _ => return Err(Fault::UnknownAddressKind),
        };
        match self.u16()? {
            0 => Err(Fault::PortZero),
            port => Ok(Some(Address { host, port })),
        }
    }
}

/// Appends an IP address with its kind, as [`Reader::ip`] reads it.
pub fn put_ip(out: &mut Vec<u8>, ip: IpAddr) {
    match ip {
        IpAddr::V4(ip) => {
            out.push(4);
            out.extend_from_slice(&ip.octets());
        }
        IpAddr::V6(ip) => {
            out.push(6);
            out.extend_from_slice(&ip.octets());
        }
    }
}

/// Appends an address, or none, as [`Reader::address`] reads it.
pub fn put_address(out: &mut Vec<u8>, address: Option<&Address>) {
    let Some(Address { host, port }) = address else {
        out.push(0);
        return;
    };
    match host {
        Host::Ip(ip) => put_ip(out, *ip),
        // The zone has a meaning on this computer only.
        Host::LinkLocal(ip, _) => put_ip(out, (*ip).into()),
        Host::Name(name) => {
            // `Address` holds only names of at most MAX_NAME bytes.
            const { assert!(MAX_NAME <= u8::MAX as usize) };
            out.push(1);
            out.push(name.len() as u8);
            out.extend_from_slice(name.as_bytes());
        }
    }
    out.extend_from_slice(&port.to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_come_back() {
        for text in ["192.0.2.1:9000", "[2001:db8::1]:1", "abc.onion:65535"] {
            let address = Address::parse(text).ok();
            let mut bytes = Vec::new();
            put_address(&mut bytes, address.as_ref());
            let mut reader = Reader::new(&bytes);
            assert_eq!(reader.address(), Ok(address));
            assert!(reader.is_empty());
        }
        assert_eq!(Reader::new(&[0]).address(), Ok(None));
    }

    #[test]
    fn a_cut_or_odd_address_is_a_fault() {
        for bytes in [
            &[][..],
            &[4, 1, 2],
            &[4, 1, 2, 3, 4, 0, 0],
            &[9],
            &[1, 3, b'A', b'b', b'c', 0, 1],
            &[1, 200, b'a'],
        ] {
            assert!(Reader::new(bytes).address().is_err(), "{bytes:?}");
        }
    }
}
