_base_ = './table1_cifar10_static.py'

title = 'Table 1 on Fashion-MNIST: static pruning of LeNet-5'
about = """
As table1_cifar10_static, at a size for a CPU: 20 epochs as the schedule, at the tuned rate of
steps_fashion_mnist, and 2 epochs to select by. Images are read once, and flipped a batch at a time;
the runs to select by read each image anew, as `scores` does.
"""
config = 'projects/images_in_memory/configs/lenet5_1xb128-infobatch_fashion-mnist.py'
schedule = 2.0
options = {'param_scheduler.eta_max': 0.1, 'train_cfg.val_interval': 100}  # and at the end
_BASELINE = 'table1_fashion_mnist/all'

arms = [dict(same_as=_BASELINE, label='all data')]
for _arm in _base_.arms[1:]:
    _arm = dict(_arm, against=_BASELINE, paper='')
    if _arm['name'] == 'selection':
        _config = 'configs/lenet/lenet5_1xb128-infobatch_fashion-mnist.py'
        _arm = dict(_arm, label='2 epochs, to select by', schedule=0.2, config=_config)
    if 'scores' in _arm:
        _epochs = [1, 2] if _arm['scores']['method'] == 'forgetting' else [2]
        _arm['scores'] = dict(_arm['scores'], epochs=_epochs)
    arms.append(_arm)
arms += [
    dict(
        same_as=f'table1_fashion_mnist/control_{_share}',
        label=f'as many iterations on all data, {_share} %',
        against=_BASELINE,
    )
    for _share in (30, 50, 70)
]
