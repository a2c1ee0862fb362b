from dataclasses import dataclass
from datetime import timedelta

from api.aws import Clients
from api.desk import Desk
from api.index import Index
from api.listing import Listing
from api.outbox import Outbox
from api.publisher import Publisher
from api.queues import Queues
from api.reconciliation import Reconciler
from api.record import Records
from api.runtimes import RoutingTable
from api.settings import Settings
from api.signing import Signer
from api.state import States
from api.waiting import Waiting


@dataclass(frozen=True)
class Service:
    """The parts that routes, reconciliation and other programs are made of, wired to AWS."""

    bucket: str
    table: RoutingTable
    queues: Queues
    publisher: Publisher
    records: Records
    desk: Desk
    states: States
    listing: Listing
    waiting: Waiting
    reconciler: Reconciler


def assemble(settings: Settings, clients: Clients) -> Service:
    """Return the parts; nothing is asked of AWS yet."""
    bucket = settings.s3_output_bucket
    table = RoutingTable(clients, settings.runtimes_bucket, settings.runtimes_key, settings.runtimes_refresh_seconds)
    queues = Queues(clients)
    publisher = Publisher(clients, settings.sns_topic_arn, bucket)
    records = Records(clients, bucket)
    outbox = Outbox(clients, bucket)
    index = Index(clients, bucket)
    desk = Desk(table, records, publisher, outbox, index)
    states = States(records, table, queues, bucket, Signer(clients, bucket, settings.presign_seconds))
    return Service(
        bucket=bucket,
        table=table,
        queues=queues,
        publisher=publisher,
        records=records,
        desk=desk,
        states=states,
        listing=Listing(index, records, states),
        waiting=Waiting(records),
        reconciler=Reconciler(outbox, desk, timedelta(seconds=settings.reconcile_grace_seconds)),
    )
