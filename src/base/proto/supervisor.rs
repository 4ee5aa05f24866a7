//! The messages between the supervisor and the others: as in `message`, one enum for each direction of each channel.

use crate::codec::{DecodeError, Reader};
use crate::message::{Decode, fields};
use crate::{Duty, TrustClass, WorkerId};

/// A message from the supervisor to the broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SupervisorToBroker {
    /// A worker has been started; one descriptor (the channel to it).
    Worker {
        /// Its number.
        id: WorkerId,
        /// The class whose tables and callers it gets.
        class: TrustClass,
        /// Its duty.
        duty: Duty,
    },
    /// The worker's confinement has been checked from outside: it may get clients.
    Admit(WorkerId),
    /// The worker's process has exited.
    Gone(WorkerId),
    /// Another broker has taken over, or the service is stopping: accept no more clients, let the workers finish, and
    /// exit after the last one.
    Finish,
    /// Have the writer write its checkpoints (writing service only).
    Checkpoint,
}

impl Decode for SupervisorToBroker {
    fn decode(packet: &[u8]) -> Result<Self, DecodeError> {
        let mut from = Reader(packet);
        let message = match from.u8()? {
            1 => SupervisorToBroker::Worker {
                id: WorkerId(from.u32()?),
                class: TrustClass(from.u16()?),
                duty: Duty::from_tag(from.u8()?)?,
            },
            2 => SupervisorToBroker::Admit(WorkerId(from.u32()?)),
            3 => SupervisorToBroker::Gone(WorkerId(from.u32()?)),
            4 => SupervisorToBroker::Finish,
            5 => SupervisorToBroker::Checkpoint,
            tag => return Err(DecodeError::UnknownTag(tag)),
        };
        from.end()?;
        Ok(message)
    }

    fn encode(&self) -> Vec<u8> {
        match *self {
            SupervisorToBroker::Worker { id, class, duty } => {
                fields(1, &[&id.0.to_le_bytes(), &class.0.to_le_bytes(), &[duty as u8]])
            }
            SupervisorToBroker::Admit(id) => fields(2, &[&id.0.to_le_bytes()]),
            SupervisorToBroker::Gone(id) => fields(3, &[&id.0.to_le_bytes()]),
            SupervisorToBroker::Finish => fields(4, &[]),
            SupervisorToBroker::Checkpoint => fields(5, &[]),
        }
    }

    fn descriptors(&self) -> usize {
        usize::from(matches!(self, SupervisorToBroker::Worker { .. }))
    }
}

/// A message from the broker to the supervisor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BrokerToSupervisor {
    /// It is locked down and has checked itself; every table has been checked once.
    Ready,
    /// A worker of this class and duty is needed.
    Need(TrustClass, Duty),
    /// This worker has reported its lock-down and has its tables: check it, then admit it.
    WorkerReady(WorkerId),
    /// This worker broke the protocol or stopped answering: kill it.
    Kill(WorkerId),
    /// How many clients are connected, sent when the number becomes zero or stops being zero.
    Clients(u32),
    /// The answer to Finish: it no longer accepts clients.
    Finishing,
    /// The dialer, or one of its connectors, sent what neither of ours ever sends: nothing more is read from it.
    DialerWrong,
}

impl Decode for BrokerToSupervisor {
    fn decode(packet: &[u8]) -> Result<Self, DecodeError> {
        let mut from = Reader(packet);
        let message = match from.u8()? {
            1 => BrokerToSupervisor::Ready,
            2 => BrokerToSupervisor::Need(TrustClass(from.u16()?), Duty::from_tag(from.u8()?)?),
            3 => BrokerToSupervisor::WorkerReady(WorkerId(from.u32()?)),
            4 => BrokerToSupervisor::Kill(WorkerId(from.u32()?)),
            5 => BrokerToSupervisor::Clients(from.u32()?),
            6 => BrokerToSupervisor::Finishing,
            7 => BrokerToSupervisor::DialerWrong,
            tag => return Err(DecodeError::UnknownTag(tag)),
        };
        from.end()?;
        Ok(message)
    }

    fn encode(&self) -> Vec<u8> {
        match *self {
            BrokerToSupervisor::Ready => fields(1, &[]),
            BrokerToSupervisor::Need(class, duty) => fields(2, &[&class.0.to_le_bytes(), &[duty as u8]]),
            BrokerToSupervisor::WorkerReady(id) => fields(3, &[&id.0.to_le_bytes()]),
            BrokerToSupervisor::Kill(id) => fields(4, &[&id.0.to_le_bytes()]),
            BrokerToSupervisor::Clients(count) => fields(5, &[&count.to_le_bytes()]),
            BrokerToSupervisor::Finishing => fields(6, &[]),
            BrokerToSupervisor::DialerWrong => fields(7, &[]),
        }
    }

    fn descriptors(&self) -> usize {
        0
    }
}

/// A message from the supervisor to the logger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SupervisorToLogger {
    /// A channel with the log lines of the process `pid`; one descriptor.
    Source {
        /// The process whose lines they are.
        pid: u32,
    },
}

impl Decode for SupervisorToLogger {
    fn decode(packet: &[u8]) -> Result<Self, DecodeError> {
        let mut from = Reader(packet);
        let message = match from.u8()? {
            1 => SupervisorToLogger::Source { pid: from.u32()? },
            tag => return Err(DecodeError::UnknownTag(tag)),
        };
        from.end()?;
        Ok(message)
    }

    fn encode(&self) -> Vec<u8> {
        match *self {
            SupervisorToLogger::Source { pid } => fields(1, &[&pid.to_le_bytes()]),
        }
    }

    fn descriptors(&self) -> usize {
        1
    }
}

#[cfg(test)]
mod tests;
