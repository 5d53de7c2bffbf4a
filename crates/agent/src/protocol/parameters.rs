//! What an agent is told before it can ask: on the kernel's command line.

use std::fmt;

use crate::network::{StaticAddress, StaticAddressError};

/// Names on the kernel's command line, each as `name=value`.
pub mod parameter {
    /// `https://ADDRESS:PORT` of the metal room.
    pub const SERVICE: &str = "scute.service";
    /// UID of the BareMetalHost.
    pub const HOST: &str = "scute.host";
    /// The one-time token.
    pub const TOKEN: &str = "scute.token";
    /// SHA-256 of the certificate (DER) of the authority that signed the service's certificate, in hexadecimal.
    pub const PIN: &str = "scute.pin";
    /// A static address: `MAC,ADDRESS/PREFIX[,GATEWAY[,NAMESERVER...]]`; may be given several times. Without one: DHCP.
    pub const ADDRESS: &str = "scute.address";
}

/// What the command line says.
#[derive(Clone, PartialEq, Eq)]
pub struct Parameters {
    /// [`parameter::SERVICE`]
    pub service: String,
    /// [`parameter::HOST`]
    pub host: String,
    /// [`parameter::TOKEN`]
    pub token: String,
    /// [`parameter::PIN`]
    pub pin: String,
    /// [`parameter::ADDRESS`]
    pub addresses: Vec<StaticAddress>,
}

/// Why the command line is of no use.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParameterError {
    /// Not given.
    #[error("the kernel's command line has no {0}; the ISO must be the one that was made for this host")]
    Missing(&'static str),
    /// A static address.
    #[error("scute.address: {0}")]
    Address(#[from] StaticAddressError),
}

impl Parameters {
    /// Finds them among everything else on a command line; the last of a name counts.
    pub fn parse(command_line: &str) -> Result<Self, ParameterError> {
        let all = |name: &'static str| {
            command_line.split_whitespace().filter_map(move |word| word.strip_prefix(name)?.strip_prefix('='))
        };
        let one = |name| all(name).next_back().map(str::to_owned).ok_or(ParameterError::Missing(name));
        Ok(Parameters {
            service: one(parameter::SERVICE)?,
            host: one(parameter::HOST)?,
            token: one(parameter::TOKEN)?,
            pin: one(parameter::PIN)?,
            addresses: all(parameter::ADDRESS).map(str::parse).collect::<Result<_, StaticAddressError>>()?,
        })
    }
}

/// Without the token.
impl fmt::Debug for Parameters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Parameters { service, host, token: _, pin, addresses } = self;
        let mut shown = f.debug_struct("Parameters");
        shown.field("service", service).field("host", host).field("pin", pin).field("addresses", addresses);
        shown.finish_non_exhaustive()
    }
}

/// As they stand on a command line.
impl fmt::Display for Parameters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Parameters { service, host, token, pin, addresses } = self;
        write!(f, "{}={service} {}={host} ", parameter::SERVICE, parameter::HOST)?;
        write!(f, "{}={token} {}={pin}", parameter::TOKEN, parameter::PIN)?;
        addresses.iter().try_for_each(|address| write!(f, " {}={address}", parameter::ADDRESS))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_read_as_they_are_written() {
        let parameters = Parameters {
            service: "https://10.0.0.1:8443".into(),
            host: "1-2-3".into(),
            token: "t=x".into(),
            pin: "ab".into(),
            addresses: vec!["02:00:00:00:00:01,10.0.2.15/24,10.0.2.2".parse().unwrap()],
        };
        let line = format!("quiet scute.hosts=x {parameters} panic=60\n");
        assert!(!format!("{parameters:?}").contains("t=x"));
        assert_eq!(Parameters::parse(&line), Ok(parameters));
    }

    #[test]
    fn what_is_missing_is_named() {
        let error = Parameters::parse("scute.service=a scute.host=b").unwrap_err();
        assert!(error.to_string().contains("scute.token"), "{error}");
        let line = "scute.service=a scute.host=b scute.token=c scute.pin=d scute.address=e";
        assert!(Parameters::parse(line).unwrap_err().to_string().contains("\"e\""));
    }
}
