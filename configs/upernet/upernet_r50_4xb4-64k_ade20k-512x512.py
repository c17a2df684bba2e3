# The control of `upernet_r50_4xb4-infobatch-iterbudget-64k`: as many iterations,
# on all the data. What pruning is worth is the difference to this run, not to 80k.
_base_ = [
    '../_base_/models/upernet_r50.py',
    '../_base_/datasets/ade20k.py',
    '../_base_/default_runtime_mmseg.py',
    '../_base_/schedules/schedule_64k.py',
]
crop_size = (512, 512)
data_preprocessor = dict(size=crop_size)
model = dict(
    data_preprocessor=data_preprocessor,
    decode_head=dict(num_classes=150),
    auxiliary_head=dict(num_classes=150),
)
