<?php
// SPDX-License-Identifier: MIT

namespace FreePBX\modules\Callbackqueue;

use FreePBX\modules\Backup as Base;

/** The settings of the module. The tasks are in the database of the service. */
class Backup extends Base\BackupBase
{
	public function runBackup($id, $transaction)
	{
		$this->addDependency('queues');
		$this->addConfigs($this->FreePBX->Callbackqueue->dumpSettings());
	}
}
