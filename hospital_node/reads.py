"""Reads: which images a piece of work is about to look at, in the hospital's own log.

The one rule: the entry is committed before the first pixel is read, and names the images only
through a commitment that the ballot's secret salt opens.
"""

from collections.abc import Sequence

from hospital_node.admission import Admitted
from hospital_node.errors import CohortError
from hospital_node.imaging.dataset import Patient, commit_read
from hospital_node.local_events import ImagesRead, images_read
from hospital_node.site import Site
from protocol.budget import Partition, Purpose


def note_read(
    site: Site,
    admitted: Admitted,
    purpose: Purpose,
    *,
    patients: Sequence[Patient],
    partition: Partition = Partition.TRAIN,
) -> None:
    """Put on the hospital's own record that `purpose` reads all images of `patients`.

    Raises:
        CohortError: the ballot committed to no images.
    """
    manifest = admitted.ballot.manifest
    if manifest is None:
        raise CohortError("the ballot commits to no images, so none are read under it")
    read = ImagesRead(
        plan_id=admitted.plan.id,
        run_id=admitted.task.run_id,
        round=admitted.task.round,
        purpose=purpose,
        partition=partition,
        images=commit_read(patients, admitted.cast.salt),
        manifest=manifest,
    )
    with site.pool.connection() as connection:
        site.local.append(connection, images_read(read))
