_base_ = 'stability_cifar10_gray.py'
title = 'What pruning does to LeNet-5 on gray CIFAR-10, peak learning rate 0.2'
options = {'param_scheduler.eta_max': 0.2}
