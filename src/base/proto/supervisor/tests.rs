use super::*;
use crate::message::tests::survives;

#[test]
fn supervisor_and_broker_roundtrip() {
    survives(&[
        SupervisorToBroker::Worker { id: WorkerId(70_000), class: TrustClass(3), duty: Duty::Rules },
        SupervisorToBroker::Admit(WorkerId(1)),
        SupervisorToBroker::Gone(WorkerId(1)),
        SupervisorToBroker::Finish,
        SupervisorToBroker::Checkpoint,
    ]);
    survives(&[
        BrokerToSupervisor::Ready,
        BrokerToSupervisor::Need(TrustClass(1), Duty::Rules),
        BrokerToSupervisor::Need(TrustClass(1), Duty::Gateway),
        BrokerToSupervisor::WorkerReady(WorkerId(4)),
        BrokerToSupervisor::Kill(WorkerId(4)),
        BrokerToSupervisor::Clients(9),
        BrokerToSupervisor::Finishing,
        BrokerToSupervisor::DialerWrong,
    ]);
}

#[test]
fn supervisor_to_logger_roundtrip() {
    survives(&[SupervisorToLogger::Source { pid: 77 }]);
}
