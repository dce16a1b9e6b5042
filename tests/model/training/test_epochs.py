"""The order of an epoch reaches the rows of every process, also in a loader that skips what was done before."""

from collections.abc import Iterator

from accelerate.data_loader import prepare_data_loader, skip_first_batches
from torch.utils.data import DataLoader, Sampler

from phi_runner.model.training.saving import set_epoch


class _Order(Sampler[int]):
    """Rows 0..7, or from 100 in epoch 1."""

    epoch = 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __iter__(self) -> Iterator[int]:
        yield from range(100 * self.epoch, 100 * self.epoch + 8)

    def __len__(self) -> int:
        return 8


def test_one_of_two_processes_goes_on_in_the_middle_of_the_second_epoch() -> None:
    order = _Order()
    loader = DataLoader(list(range(200)), batch_size=2, sampler=order)
    mine = prepare_data_loader(loader, num_processes=2, process_index=1, put_on_device=False)
    set_epoch(mine, 1)
    rest = skip_first_batches(mine, 1)
    rest.set_epoch(1)
    assert [batch.tolist() for batch in rest] == [[106, 107]]
    order.set_epoch(0)  # as it was before this was told by ourselves
    rest = skip_first_batches(mine, 1)
    rest.set_epoch(1)
    assert [batch.tolist() for batch in rest] == [[6, 7]], "accelerate tells it now: set_epoch can go"
